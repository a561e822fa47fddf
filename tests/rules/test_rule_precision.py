"""Rules decide as in exact arithmetic, and finite updates give a finite result or an error of ours."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from aggregating import agree, crowd, drawn
from oracles import selection as oracles

from strategies import PREAGGREGATORS, STRATEGIES
from strategies.base import Context, InputError, PreconditionError
from strategies.pipeline import Pipeline
from strategies.rules.bulyan import Bulyan
from strategies.rules.caf import CAF
from strategies.rules.centered_clipping import CenteredClipping
from strategies.rules.dnc import DnC
from strategies.rules.fedavg import FedAvg
from strategies.rules.fltrust import FLTrust
from strategies.rules.geometric_median import GeometricMedian
from strategies.rules.mda import MDA, CoverSearch
from strategies.rules.monna import MoNNA
from strategies.rules.slsgd import SLSGD
from strategies.rules.smea import SMEA
from strategies.rules.spectral_filter import SpectralFilter
from strategies.rules.trimmed_mean import MeanAroundMedian, Phocas, TrimmedMean
from strategies.synthetic import SyntheticRounds


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_small_differences_of_large_rows_decide(seed, far):
    rows = crowd(9, 60, common=1e2, spread=1e-4, seed=seed)
    if far:  # the first client, from which distances are first taken, is far out
        rows[0] *= -30
    exact = rows.double().numpy()
    for rule, oracle in (
        (MDA(byzantine=3), lambda x: oracles.mda(x, 3)),
        (SMEA(byzantine=3), lambda x: oracles.smea(x, 3)),
        (MoNNA(byzantine=3, trusted=8), lambda x: oracles.monna(x, 3, 8)),
        (CAF(byzantine=3), lambda x: oracles.caf(x, 3)),
        (SpectralFilter(byzantine=3), lambda x: oracles.spectral_filter(x, 3, 1e-5)),
        (DnC(byzantine=3), lambda x: oracles.dnc(x, 3, [range(60)])),
        (GeometricMedian(), lambda x: oracles.weiszfeld(x, [1.0] * 9, 1e-12, 400, x.mean(axis=0))),
    ):
        result, (update, trust) = rule(rows), oracle(exact)
        np.testing.assert_allclose(result.trust, trust, atol=2e-3, err_msg=repr(rule))
        np.testing.assert_allclose(result.update, update, rtol=3e-7, atol=1e-6, err_msg=repr(rule))


@pytest.mark.parametrize("iterations", [1, 4])
def test_a_short_pull_at_a_large_centre_is_exact(iterations):
    rows = crowd(9, 60, common=1e2, spread=1e-4)
    centre = rows.mean(dim=0)
    rule = CenteredClipping(tau=1e-4, iterations=iterations)
    result = rule(rows, None, Context(state={"centre": centre}))
    _, trust = oracles.centered_clipping(rows.double().numpy(), 1e-4, iterations, centre.double().numpy())
    np.testing.assert_allclose(result.trust, trust, rtol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_scipy_finds_no_better_geometric_median(seed, weighted):
    updates = drawn(7, 3, seed)
    weights = np.arange(1.0, 8.0) if weighted else np.ones(7)

    def objective(point):
        return weights @ np.linalg.norm(updates - point, axis=1)

    ours = GeometricMedian()(torch.from_numpy(updates), torch.from_numpy(weights)).update.numpy()
    best = scipy.optimize.minimize(objective, updates.mean(axis=0), method="Nelder-Mead", tol=1e-10)
    assert objective(ours) <= best.fun + 1e-7
    np.testing.assert_allclose(ours, best.x, atol=1e-4)


def test_a_majority_in_one_place_is_the_geometric_median():
    rows = torch.from_numpy(drawn(9, 4))
    rows[:5] = rows[0]
    result = GeometricMedian()(rows)
    torch.testing.assert_close(result.update, rows[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(GeometricMedian()(rows[:5]).update, rows[0])
    torch.testing.assert_close(GeometricMedian()(0 * rows).update, 0 * rows[0])


@pytest.mark.parametrize("scale", [1e-20, 1e-9, 1e12])
def test_the_geometric_median_of_tiny_and_vast_updates_is_no_mean(scale):
    rows = torch.from_numpy(drawn(9, 4, 6)).float()
    usual = GeometricMedian()(rows).update
    result = GeometricMedian()(rows * scale).update
    torch.testing.assert_close(result.double() / scale, usual.double(), rtol=1e-4, atol=1e-4)
    assert (usual - rows.mean(dim=0)).norm() > 0.05


def test_one_client_far_out_does_not_blur_the_geometric_median():
    updates, direction = drawn(8, 4), np.array([0.5, -0.5, 0.7, -0.1])

    def objective(point):
        # Far out, only the direction of the outlier counts.
        return np.linalg.norm(updates - point, axis=1).sum() - direction @ point

    best = scipy.optimize.minimize(objective, updates.mean(axis=0), method="Nelder-Mead", tol=1e-10)
    for strength in (1e5, 1e12, 1e25):
        for row in (0, 8):
            rows = torch.from_numpy(np.insert(updates, row, strength * direction, axis=0)).float()
            np.testing.assert_allclose(GeometricMedian()(rows).update.double(), best.x, atol=1e-4)


@pytest.mark.parametrize(("n", "f"), [(13, 5), (14, 4)])
@pytest.mark.parametrize("d", [1, 2, 30])
def test_minimum_diameter_subsets_are_those_of_the_full_search(n, f, d):
    for seed in range(3):
        updates = drawn(n, d, seed)
        agree(MDA(byzantine=f), lambda x: oracles.mda(x, f), updates)


def test_a_hundred_clients_are_no_burden_for_mda():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(100, 30, generator=generator)
    rows[::3] += 10 * torch.randn(34, 30, generator=generator)
    kept = MDA(byzantine=34)(rows).trust > 0
    assert kept.tolist() == [row % 3 > 0 for row in range(100)]
    assert (MDA(byzantine=45)(torch.randn(100, 30, generator=generator)).trust > 0).sum() == 55


@pytest.mark.parametrize("seed", range(20))
def test_covers_are_those_of_the_full_search(seed):
    generator = np.random.default_rng(seed)
    n, density = 9, generator.choice([0.15, 0.3, 0.6])
    edges = [(a, b) for a in range(n) for b in range(a) if generator.random() < density]
    conflicts = [0] * n
    for a, b in edges:
        conflicts[a] |= 1 << b
        conflicts[b] |= 1 << a
    sizes = [s.bit_count() for s in range(1 << n) if all(s >> a & 1 or s >> b & 1 for a, b in edges)]
    for removals in range(n):
        covered = CoverSearch(10_000).coverable(conflicts, (1 << n) - 1, removals)
        assert covered == (min(sizes) <= removals)


def test_too_costly_searches_are_refused_with_the_knob_to_turn():
    rows = torch.from_numpy(drawn(40, 3))
    with pytest.raises(
        PreconditionError, match=r"needs more than 100,000 subsets of 40 updates. Raise `subsets`"
    ):
        SMEA(byzantine=5)(rows)
    with pytest.raises(PreconditionError, match="needs more than 3 steps for 40 updates. Raise `steps`"):
        MDA(byzantine=15, steps=3)(rows)


def extreme_updates():
    """Return names and finite updates of which sums, squares or quotients overflow."""
    usual = SyntheticRounds(n=11, dtype=torch.float64).updates[0]
    signs = usual.sign()
    one_row = usual.clone()
    one_row[0] = 1e300
    yield "all 1e38", torch.full_like(usual, 1e38).float()
    yield "signs of 3e38", (3e38 * signs).float()
    yield "largest float32", torch.full_like(usual, torch.finfo(torch.float32).max).float()
    yield "one row of 1e300", one_row
    yield "all 1e300", torch.full_like(usual, 1e300)
    yield "signs of 1e308", 1e308 * signs
    yield "denormal", torch.full_like(usual, 1e-42).float()
    yield "bfloat16", usual.bfloat16()


EXTREME = dict(extreme_updates())
MAY_OVERFLOW = {"largest float32", "one row of 1e300", "all 1e300", "signs of 1e308"}
TRAINS_MODELS = {"masa"}
"""Rules that train the clients' models, whose losses overflow for smaller weights."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", EXTREME)
@pytest.mark.parametrize("name", STRATEGIES)
def test_finite_updates_give_a_finite_aggregate_or_an_error(name, case):
    cheaper = {"deepsight": {"images": 50, "seeds": 1}}.get(name, {})
    tolerated = {"byzantine": 2} if "byzantine" in STRATEGIES[name].card.needs else {}
    rule = STRATEGIES[name](**cheaper, **tolerated)
    updates = EXTREME[case]
    rounds = SyntheticRounds(n=11, dtype=updates.dtype)
    try:
        result = rule(updates, rounds.weights, rounds.context())
    except InputError:
        assert case in MAY_OVERFLOW or name in TRAINS_MODELS
        return
    assert result.update.dtype == updates.dtype
    assert bool(result.update.isfinite().all() and result.trust.isfinite().all())


@pytest.mark.parametrize("case", EXTREME)
@pytest.mark.parametrize("name", PREAGGREGATORS)
def test_finite_updates_give_finite_coefficients_or_an_error(name, case):
    updates = EXTREME[case]
    try:
        coefficients = PREAGGREGATORS[name]()(updates, SyntheticRounds(n=11, dtype=updates.dtype).context())
    except InputError:
        assert case in MAY_OVERFLOW
        return
    assert bool(coefficients.isfinite().all())


def test_the_error_of_an_overflow_names_the_rule_and_the_largest_value():
    with pytest.raises(InputError, match=r"CAF overflows for torch.float64 values up to 1e\+300"):
        CAF(byzantine=2)(EXTREME["one row of 1e300"])


@pytest.mark.parametrize(
    "rule",
    [TrimmedMean(byzantine=2), Phocas(byzantine=2), MeanAroundMedian(byzantine=2), Bulyan(byzantine=1)],
    ids=repr,
)
def test_the_mean_of_large_numbers_is_a_large_number(rule):
    rows = torch.full((9, 3), 1e38)
    torch.testing.assert_close(rule(rows).update, rows[0])
    torch.testing.assert_close(SLSGD(byzantine=2, alpha=0.5)(rows).update, rows[0] / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", [FedAvg(), CenteredClipping()], ids=repr)
def test_the_mean_of_whole_numbers_is_exact(rule, dtype):
    rows = torch.tensor([[1.0], [4.0], [7.0]], dtype=dtype)
    assert float(rule(rows).update) == 4.0
    assert float(rule(rows, torch.tensor([5.0, 5.0, 5.0])).update) == 4.0


@pytest.mark.parametrize("fault", [torch.nan, torch.inf])
def test_fltrust_refuses_a_root_update_that_is_not_finite(fault):
    root = torch.tensor([1.0, fault])
    with pytest.raises(InputError, match="root update: contains NaN or infinity"):
        FLTrust()(torch.ones(3, 2), None, Context(root_update=lambda: root))


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_graph_is_handed_on(name):
    cheaper = {"deepsight": {"images": 50, "seeds": 1}}.get(name, {})
    rounds = SyntheticRounds(n=9)
    updates, weights = rounds.updates[0].requires_grad_(), rounds.weights.requires_grad_()
    for rule in (
        STRATEGIES[name](**cheaper),
        Pipeline(pre=(PREAGGREGATORS["clipping"](),), rule=STRATEGIES[name](**cheaper)),
    ):
        result = rule(updates, weights, rounds.context())
        tensors = [result.update, result.trust, *result.state.values()]
        assert not any(tensor.requires_grad for tensor in tensors)

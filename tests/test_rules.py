"""Every rule gives what its paper says, and what other libraries give where they mean the same."""

from __future__ import annotations

import byzfl
import numpy as np
import oracles
import pytest
import scipy.stats
import torch
from flwr.app import ArrayRecord, RecordDict
from flwr.serverapp.strategy.bulyan import aggregate_n_closest_weights
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from flwr.serverapp.strategy.multikrum import select_multikrum
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import STRATEGIES
from strategies.bulyan import Bulyan
from strategies.distances import squared_distances
from strategies.fedavg import FedAvg
from strategies.krum import Krum
from strategies.mean_around_median import MeanAroundMedian
from strategies.median import Median
from strategies.multi_krum import MultiKrum
from strategies.nearest_values import mean_of_nearest
from strategies.order_statistics import over_sorted_columns
from strategies.phocas import Phocas
from strategies.robust_learning_rate import RobustLearningRate
from strategies.sign_majority import SignMajority
from strategies.trimmed_mean import TrimmedMean


def drawn(n, d, seed=0, *, whole=False):
    """Return float64 updates (n, d) that share a direction; whole numbers have many ties."""
    generator = np.random.default_rng([n, d, seed])
    if whole:
        return generator.integers(-2, 3, (n, d)).astype(float)
    return generator.normal(size=d) + generator.normal(size=(n, d))


def cases(n, f):
    """Return rules and oracles that are defined for n updates of which f are tolerated."""
    yield Median(), oracles.median
    yield FedAvg(), oracles.fedavg
    yield RobustLearningRate(), oracles.robust_learning_rate
    yield RobustLearningRate(threshold=n), lambda x: oracles.robust_learning_rate(x, n)
    yield SignMajority(), oracles.sign_majority
    yield SignMajority(step=0.25), lambda x: oracles.sign_majority(x, 0.25)
    if n > 2 * f:
        yield TrimmedMean(byzantine=f), lambda x: oracles.trimmed_mean(x, f)
        yield MeanAroundMedian(byzantine=f), lambda x: oracles.mean_around_median(x, f)
        yield Phocas(byzantine=f), lambda x: oracles.phocas(x, f)
    if n > 2 * f + 2:
        for excluded in (1, 2):
            for power in (1, 2, 4):
                knobs = {"excluded": excluded, "power": power}
                yield Krum(byzantine=f, **knobs), lambda x, knobs=knobs: oracles.krum(x, f, **knobs)
                yield (
                    MultiKrum(byzantine=f, **knobs),
                    lambda x, knobs=knobs: oracles.multi_krum(x, f, **knobs),
                )
        yield MultiKrum(byzantine=f, select=2), lambda x: oracles.multi_krum(x, f, 2)
    if n > 4 * f + 2:
        yield Bulyan(byzantine=f), lambda x: oracles.bulyan(x, f)
        yield Bulyan(byzantine=f, selection="one-shot"), lambda x: oracles.bulyan(x, f, "one-shot")


def agree(rule, oracle, updates, dtype=torch.float64, tolerance=1e-12):
    result = rule(torch.from_numpy(updates).to(dtype))
    update, trust = oracle(updates)
    np.testing.assert_allclose(
        result.update.double(), update, rtol=tolerance, atol=tolerance, err_msg=repr(rule)
    )
    np.testing.assert_allclose(result.trust, trust, rtol=tolerance, atol=tolerance, err_msg=repr(rule))


@pytest.mark.parametrize("f", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 4, 7, 11, 12, 15])
def test_rules_are_what_the_papers_say(n, f):
    for rule, oracle in cases(n, f):
        agree(rule, oracle, drawn(n, 5))
        agree(rule, oracle, drawn(n, 5).astype(np.float32).astype(float), torch.float32, 1e-5)


def test_every_rule_of_this_file_has_been_compared():
    compared = {type(rule) for rule, _ in cases(15, 3)}
    assert compared <= set(STRATEGIES.values())
    assert len(compared) == 10


@settings(max_examples=40, deadline=None, derandomize=True)
@given(n=st.integers(1, 13), d=st.integers(1, 4), f=st.integers(0, 3), seed=st.integers(0, 999))
def test_ties_are_broken_alike(n, d, f, seed):
    for rule, oracle in cases(n, f):
        if not isinstance(rule, Phocas):  # a tie around a trimmed mean is a matter of its last bit
            agree(rule, oracle, drawn(n, d, seed, whole=True))


def test_weights_weigh():
    updates, weights = drawn(6, 4), np.array([3.0, 1, 2, 9, 0, 5])
    for rule, oracle in ((FedAvg(), oracles.fedavg), (RobustLearningRate(), oracles.robust_learning_rate)):
        result = rule(torch.from_numpy(updates), torch.from_numpy(weights))
        update, trust = oracle(updates, weights=weights)
        np.testing.assert_allclose(result.update, update)
        np.testing.assert_allclose(result.trust, trust)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(n=st.integers(1, 30), kept=st.integers(1, 30), seed=st.integers(0, 999))
def test_the_nearest_values_are_found_from_any_centre(n, kept, seed):
    kept = min(n, kept)
    generator = np.random.default_rng(seed)
    values, centres = generator.normal(size=(6, n)), generator.normal(size=6)
    rows = torch.from_numpy(values)
    means, shares = mean_of_nearest(rows.sort(dim=1).values, rows, torch.from_numpy(centres), kept)
    chosen = [oracles.nearest(row, centre, kept) for row, centre in zip(values, centres, strict=True)]
    np.testing.assert_allclose(means, [np.mean(row) for row in chosen])
    wanted = [sum(values[c, i] in chosen[c] for c in range(6)) for i in range(n)]
    np.testing.assert_array_equal(shares, wanted)


def test_columns_beyond_one_chunk_are_sorted_too():
    updates = drawn(7, 5000)
    result = MeanAroundMedian(byzantine=2)(torch.from_numpy(updates))
    some = [0, 1023, 1024, 4095, 4999]
    np.testing.assert_allclose(result.update[some], oracles.mean_around_median(updates[:, some], 2)[0])
    np.testing.assert_allclose(Median()(torch.from_numpy(updates)).update, np.median(updates, axis=0))
    np.testing.assert_allclose(Bulyan(byzantine=1)(torch.from_numpy(updates)).trust.sum(), 1)


def test_only_the_named_rows_are_sorted():
    updates = torch.from_numpy(drawn(6, 3))
    rows = torch.tensor([1, 4])

    def smallest(ordered, values):
        return ordered[:, 0], values.sum(dim=0)

    result, sums = over_sorted_columns(updates, smallest, rows=rows)
    assert torch.equal(result, updates[rows].amin(dim=0))
    assert torch.equal(sums, updates[rows].sum(dim=1))


@pytest.mark.parametrize("f", [0, 1, 3])
@pytest.mark.parametrize("n", [9, 12])
def test_byzfl_agrees(n, f):
    updates = drawn(n, 50)
    pairs = [
        (FedAvg(), byzfl.Average()),
        (Median(), byzfl.Median()),
        (TrimmedMean(byzantine=f), byzfl.TrMean(f=f)),
        (MeanAroundMedian(byzantine=f), byzfl.Meamed(f=f)),
        # ByzFL scores the n - f - 1 nearest, the paper n - f - 2.
        (Krum(byzantine=f, excluded=1), byzfl.Krum(f=f)),
        (MultiKrum(byzantine=f, excluded=1), byzfl.MultiKrum(f=f)),
    ]
    for rule, theirs in pairs:
        ours = rule(torch.from_numpy(updates)).update
        np.testing.assert_allclose(ours, theirs(updates), rtol=1e-5, err_msg=repr(rule))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.4])
def test_scipy_and_flower_agree_on_trimmed_means(share):
    # Both cut int(share n) values at each end, we the number that is tolerated.
    updates = drawn(12, 50)
    ours = TrimmedMean(byzantine=int(share * 12))(torch.from_numpy(updates)).update
    np.testing.assert_allclose(ours, scipy.stats.trim_mean(updates, share, axis=0), rtol=1e-5)
    np.testing.assert_allclose(ours, trim_mean(updates, share), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 9, 12])
def test_numpy_and_so_flower_agree_on_medians(n):
    updates = drawn(n, 50)
    ours = Median()(torch.from_numpy(updates)).update
    np.testing.assert_allclose(ours, np.median(updates, axis=0), rtol=1e-5)


def flower_selection(updates, f, count):
    contents = [RecordDict({"arrays": ArrayRecord([row])}) for row in updates]
    chosen = select_multikrum(contents, f, count)
    return np.stack([content["arrays"].to_numpy_ndarrays()[0] for content in chosen])


@pytest.mark.parametrize(("n", "f"), [(9, 0), (11, 1), (12, 2), (20, 4)])
def test_flower_agrees_on_krum_and_bulyan(n, f):
    # Flower weights the selected clients of Multi-Krum by their examples: all alike here. Its Bulyan selects
    # by one run of Krum, where the paper runs it once for each pick.
    updates = drawn(n, 50)
    rows = torch.from_numpy(updates)
    np.testing.assert_allclose(Krum(byzantine=f)(rows).update, flower_selection(updates, f, 1)[0], rtol=1e-5)
    several = flower_selection(updates, f, n - f).mean(axis=0)
    np.testing.assert_allclose(MultiKrum(byzantine=f)(rows).update, several, rtol=1e-5)
    selected = list(flower_selection(updates, f, n - 2 * f))
    wanted = aggregate_n_closest_weights(
        [np.median(selected, axis=0)], [[row] for row in selected], n - 4 * f
    )
    ours = Bulyan(byzantine=f, selection="one-shot")(rows).update
    np.testing.assert_allclose(ours, wanted[0], rtol=1e-5)


def test_the_papers_selection_differs_from_the_one_shot():
    differ = 0
    for seed in range(20):
        rows = torch.from_numpy(drawn(15, 10, seed))
        differ += not torch.equal(
            Bulyan(byzantine=3)(rows).update, Bulyan(byzantine=3, selection="one-shot")(rows).update
        )
    assert differ > 5


def crowd(n, d, *, common, spread, seed=0):
    """Return float32 rows of norm `common` that differ by about `spread`."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(d, generator=generator)
    noise = torch.randn(n, d, generator=generator) * torch.linspace(0.5, 2, n)[:, None]
    return shared / shared.norm() * common + noise / d**0.5 * spread


def exact_distances(rows):
    return (rows.double()[:, None] - rows.double()[None]).square().sum(dim=2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("far", [False, True])
def test_small_differences_of_large_rows_decide(seed, far):
    rows = crowd(9, 500, common=1e2, spread=1e-4, seed=seed)
    if far:  # the first client, from which distances are first taken, is far out
        rows[0] *= -30
    torch.testing.assert_close(squared_distances(rows), exact_distances(rows), rtol=1e-4, atol=0)
    wanted = oracles.krum(rows.double().numpy(), 2)[1].argmax()
    assert Krum(byzantine=2)(rows).trust.argmax() == wanted


def test_distances_are_right_on_all_scales_at_once():
    far, near, dense = (
        crowd(5, 300, common=c, spread=s, seed=7) for c, s in ((1e4, 1), (1e2, 1e-2), (1, 1e-6))
    )
    rows = torch.cat([far, near, dense, dense[:2]])
    for order in (range(17), range(16, -1, -1), [7, 1, 12, 3, 16, 0, 9, 5, 14, 2, 11, 4, 15, 6, 13, 8, 10]):
        shuffled = rows[list(order)]
        torch.testing.assert_close(squared_distances(shuffled), exact_distances(shuffled), rtol=1e-4, atol=0)


def test_huge_updates_are_far_away_and_not_chosen():
    rows = crowd(9, 50, common=1, spread=1)
    rows[0], rows[4] = 1e25, -1e25
    wanted = oracles.multi_krum(rows.double().numpy(), 2)[1]
    for rule in (MultiKrum(byzantine=2), Krum(byzantine=2)):
        trust = rule(rows).trust
        assert trust[0] == trust[4] == 0
    np.testing.assert_allclose(MultiKrum(byzantine=2)(rows).trust, wanted)


STEADY = [Krum, MultiKrum, Median, TrimmedMean, MeanAroundMedian, Phocas, Bulyan]


def attacked(n, f, strength, seed=0):
    """Return n updates of which the last f collude far out, and the honest ones."""
    rows = torch.from_numpy(drawn(n, 20, seed))
    rows[n - f :] = strength + 0.01 * rows[n - f :]
    return rows, rows[: n - f]


@pytest.mark.parametrize("strength", [5.0, -1e3, 1e12])
@pytest.mark.parametrize("kind", STEADY)
def test_as_many_as_are_tolerated_do_not_get_far(kind, strength):
    for f in (1, 2, 3):
        rule = kind() if kind is Median else kind(byzantine=f)
        n = 2 * f + 1 if kind is Median else rule.minimum
        for seed in range(5):
            rows, honest = attacked(n, f, strength, seed)
            spread = honest.amax(dim=0) - honest.amin(dim=0)
            off = (rule(rows).update - honest.mean(dim=0)).abs()
            assert (off <= 2 * spread + 1e-9).all()


@pytest.mark.parametrize("kind", STEADY)
def test_a_majority_moves_the_result_anywhere(kind):
    rule = kind() if kind is Median else kind(byzantine=2)
    for strength in (1e3, -1e6):
        rows, _ = attacked(11, 6, strength)
        assert (rule(rows).update.sign() == np.sign(strength)).all()
        assert (rule(rows).update.abs() > abs(strength) / 20).all()


def test_one_client_moves_the_mean_anywhere():
    rows, _ = attacked(11, 1, 1e6)
    assert (FedAvg()(rows).update > 1e4).all()


def test_a_minority_neither_turns_a_clear_vote_nor_lengthens_the_step():
    rows = torch.full((9, 4), 0.5)
    rows[:4] = -1e9
    torch.testing.assert_close(SignMajority()(rows).update, torch.full((4,), 0.5))
    rows[:5] = -1e9
    torch.testing.assert_close(SignMajority()(rows).update, torch.full((4,), -1e9))


def test_the_robust_learning_rate_turns_back_what_few_push():
    rows = torch.zeros(10, 2)
    rows[:, 0] = 1.0
    rows[0, 1] = 10.0
    result = RobustLearningRate()(rows)
    torch.testing.assert_close(result.update, torch.tensor([1.0, -1.0]))
    assert result.trust[0] == result.trust[1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Phocas(byzantine=-1), "byzantine: got -1"),
        (lambda: MeanAroundMedian(byzantine=-1), "byzantine: got -1"),
        (lambda: Bulyan(byzantine=-1), "byzantine: got -1"),
        (lambda: Bulyan(selection="twice"), "selection: got 'twice', wanted 'iterated' or 'one-shot'"),
        (lambda: SignMajority(step=0.0), "step: got 0.0"),
        (lambda: SignMajority(step=float("nan")), "step: got nan"),
        (lambda: RobustLearningRate(threshold=0), "threshold: got 0"),
    ],
)
def test_impossible_settings_cannot_be_built(build, message):
    with pytest.raises(ValueError, match=message):
        build()

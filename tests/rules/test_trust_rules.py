"""The rules that trust and cluster give what their papers say, and reject whom they were made for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aggregating import (
    CLASSES,
    LAYOUT,
    PIXELS,
    D,
    backdoored,
    close,
    honest,
    inspected,
    normal,
    predict,
    seeded,
)
from oracles import trust as oracles

from strategies.base import Context, InputError
from strategies.rules.afa import AFA
from strategies.rules.auror import Auror
from strategies.rules.clipped_clustering import ClippedClustering
from strategies.rules.deepsight import DeepSight, hdbscan
from strategies.rules.flame import Flame
from strategies.rules.flanders import Flanders
from strategies.rules.fldetector import FLDetector
from strategies.rules.fltrust import FLTrust
from strategies.rules.foolsgold import FoolsGold
from strategies.rules.lasa import LASA
from strategies.rules.signguard import SignGuard
from strategies.rules.slsgd import SLSGD


def test_fltrust_is_the_papers():
    rows, root = honest(9), honest(1, seed=8)[0]
    rows[6:] = -rows[6:]
    result = FLTrust()(rows, None, Context(root_update=lambda: root))
    update, trust = oracles.fltrust(rows.numpy(), root.numpy())
    close(result.update, update)
    close(result.trust, trust)


@pytest.mark.parametrize("compare", ["updates", "models"])
@pytest.mark.parametrize("n", [7, 12])
def test_flame_is_the_papers(compare, n):
    rows, model = honest(n, seed=n), normal(D, seed=3)
    rows[0] = -5 * rows[0]
    rule = Flame(noise=0.01, compare=compare)
    result = rule(rows, None, Context(model=model, generator=seeded()))
    noise = torch.randn(D, generator=seeded(), dtype=torch.float64).numpy()
    angles_of = rows if compare == "updates" else model + rows
    update, admitted = oracles.flame(rows.numpy(), angles_of.numpy(), noise, 0.01)
    close(result.update, update)
    assert ((result.trust > 0).numpy() == admitted).all()


@pytest.mark.parametrize("n", [5, 8, 13])
def test_signguard_is_the_papers(n):
    rows = honest(n, d=400, seed=n)
    rows[0] *= 40
    rows[-1] *= -1
    result = SignGuard()(rows, None, Context(generator=seeded()))
    update, kept = oracles.signguard(rows.numpy(), torch.randperm(400, generator=seeded())[:40].numpy())
    close(result.update, update)
    assert ((result.trust > 0).numpy() == kept).all()


@pytest.mark.parametrize("n", [2, 7, 10])
@pytest.mark.parametrize("tolerance", [0.35, 0.5])
def test_auror_is_the_papers(n, tolerance):
    rows = honest(n, seed=n)
    rows[0] -= 1.5
    result = Auror(threshold=0.7, tolerance=tolerance)(rows)
    update, kept = oracles.auror(rows.numpy(), 0.7, tolerance)
    close(result.update, update)
    assert ((result.trust > 0).numpy() == kept).all()


def test_auror_looks_at_the_output_layer_if_asked():
    rows = honest(7)
    rows[0, CLASSES * PIXELS :] = -50  # biases are not looked at
    result = Auror(threshold=5.0, features="output")(rows, None, Context(layout=LAYOUT))
    assert bool((result.trust > 0).all())
    assert not bool((Auror(threshold=5.0)(rows).trust > 0).all())


@pytest.mark.parametrize("layout", [None, LAYOUT])
@pytest.mark.parametrize("sparsity", [0.0, 0.3])
def test_lasa_is_the_papers(layout, sparsity):
    rows = honest(9, drift=0.2)
    rows[0] *= -1
    result = LASA(sparsity=sparsity)(rows, None, Context(layout=layout))
    layers = [(0, D)] if layout is None else [(0, CLASSES * PIXELS), (CLASSES * PIXELS, D)]
    update, shares = oracles.lasa(rows.numpy(), layers, sparsity, 2, 1)
    close(result.update, update)
    assert ((result.trust > 0).numpy() == (shares > 0)).all()
    assert bool((result.trust.numpy() <= shares + 1e-12).all())


def test_slsgd_is_the_papers():
    rows = honest(9)
    result = SLSGD(byzantine=2, alpha=0.6)(rows)
    close(result.update, oracles.slsgd(rows.numpy(), 2, 0.6))
    assert float(result.trust.sum()) == pytest.approx(0.6)


GIVEN = [3, 8, 8, 9, 10, 17, 20, 24, 28, 29]


@pytest.mark.parametrize("n", [3, 4, 8, 12, 40])
def test_clusters_of_deepsight_are_those_of_the_authors_library(n):
    for seed in range(8):
        features = normal(n, 3, seed=seed).numpy()
        features[: n // 2] += 6
        ours, theirs = hdbscan(features, metric="euclidean"), oracles.hdbscan_labels(features, min_samples=3)
        assert ((ours < 0) == (theirs < 0)).all()
        assert len({*zip(ours, theirs, strict=True)}) == len({*ours}) == len({*theirs})


def test_deepsight_does_not_count_a_row_as_its_own_neighbour():
    features = np.array(GIVEN, dtype=float)[:, None]
    assert hdbscan(features, metric="euclidean").tolist() == [-1] * len(GIVEN)
    assert oracles.hdbscan_labels(features, min_samples=3).tolist() == [-1] * len(GIVEN)


def test_deepsight_predicts_once_per_model():
    calls = []

    def counted(weights, images):
        calls.append(len(images))
        return predict(weights, images)

    DeepSight(images=3000, seeds=2)(backdoored(8, 2), None, inspected(predict=counted))
    assert calls == [6000] * 9


@pytest.mark.parametrize(("n", "f"), [(12, 5), (16, 5), (20, 8)])
def test_deepsight_accepts_the_same_clients_with_more_images(n, f):
    rows = backdoored(n, f)
    few, many = (rule(rows, None, inspected()).trust for rule in (DeepSight(), DeepSight(images=5000)))
    assert torch.equal(few, many)
    assert accepted(DeepSight()(rows, None, inspected()), f) == (0, 1)


@pytest.mark.parametrize("n", [3, 8, 16])
def test_deepsight_is_the_papers(n):
    rows = backdoored(n, n // 4)
    result = DeepSight(images=50, seeds=2)(rows, None, inspected())
    generator = seeded()
    noises = [torch.rand((50, 1, 2, PIXELS // 2), generator=generator).flatten(1).numpy() for _ in range(2)]
    model = inspected().model.numpy()
    update, kept = oracles.deepsight(rows.numpy(), model, CLASSES, noises, 1 / 3)
    close(result.update, update)
    assert ((result.trust > 0).numpy() == kept).all()


ALONE = [
    AFA(),
    Auror(),
    ClippedClustering(),
    Flame(noise=0),
    Flanders(),
    FLDetector(),
    SignGuard(),
    SLSGD(alpha=1),
]


@pytest.mark.parametrize("rule", ALONE, ids=repr)
def test_one_client_is_all_there_is(rule):
    rows = honest(1)
    torch.testing.assert_close(rule(rows).update, rows[0])


def test_nobody_trusted_leaves_the_model():
    rows = -honest(3)
    result = FLTrust()(rows, None, Context(root_update=lambda: honest(1)[0]))
    assert not bool(result.update.any())
    assert not bool(result.trust.any())


@pytest.mark.parametrize(
    ("rule", "context", "fault"),
    [
        (FLTrust(), Context(), "give the server root data"),
        (Flame(compare="models"), Context(), "expected the global weights"),
        (DeepSight(), Context(), "got no weight matrix"),
        (DeepSight(), inspected(predict=None), "got none to inspect"),
        (LASA(), Context(layout=LAYOUT[:1]), "expected 54"),
    ],
)
def test_what_is_missing_is_named(rule, context, fault):
    with pytest.raises(InputError, match=fault):
        rule(honest(4), None, context)


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (lambda: FoolsGold(confidence=0), "confidence: got 0"),
        (lambda: Flame(noise=-1), "noise: got -1"),
        (lambda: SignGuard(low=2), "low, high: got 2"),
        (lambda: SignGuard(share=0), "share: got 0"),
        (lambda: ClippedClustering(bound=0), "bound: got 0"),
        (lambda: DeepSight(images=0), "images, seeds: got 0"),
        (lambda: DeepSight(suspicious_share=2), "suspicious_share: got 2"),
        (lambda: Auror(threshold=-1), "threshold: got -1"),
        (lambda: Auror(tolerance=0), "tolerance: got 0"),
        (lambda: LASA(sparsity=1), "sparsity: got 1"),
        (lambda: LASA(norm_bound=0), "norm_bound: got 0"),
        (lambda: FLDetector(window=0), "window: got 0"),
        (lambda: Flanders(byzantine=-1), "byzantine: got -1"),
        (lambda: Flanders(sampled=0), "window, sampled, iterations"),
        (lambda: Flanders(ridge=0), "ridge: got 0"),
        (lambda: AFA(slack=0), "slack: got 0"),
        (lambda: AFA(certainty=1), "certainty: got 1"),
        (lambda: SLSGD(byzantine=-1), "byzantine: got -1"),
        (lambda: SLSGD(alpha=0), "alpha: got 0"),
    ],
)
def test_impossible_knobs_are_refused(build, fault):
    with pytest.raises(ValueError, match=fault):
        build()


def accepted(result, attackers):
    """Return the trust of the last rows, and the share of the others that got any."""
    split = len(result.trust) - attackers
    return float(result.trust[split:].sum()), float((result.trust[:split] > 0).double().mean())


def test_foolsgold_starves_sybils():
    rows = torch.cat([normal(10, D), normal(1, D, seed=7) + 0.05 * normal(5, D, seed=8)])
    sybils, others = accepted(FoolsGold()(rows), 5)
    assert sybils < 0.01
    assert others == 1


def test_fltrust_rejects_sign_flips():
    rows = torch.cat([honest(10), -honest(6, seed=4)])
    flipped, others = accepted(FLTrust()(rows, None, Context(root_update=lambda: honest(1, seed=5)[0])), 6)
    assert (flipped, others) == (0, 1)


def test_flame_rejects_a_far_cluster_and_keeps_a_majority():
    rows = torch.cat([honest(14), honest(6, seed=4) - 2])
    far, others = accepted(Flame()(rows, None, Context(generator=seeded())), 6)
    assert far == 0
    assert others >= 11 / 14


def test_signguard_rejects_sign_flips_and_huge_norms():
    rows = torch.cat([honest(14, d=1000), -honest(4, d=1000, seed=4), 50 * honest(2, d=1000, seed=6)])
    bad, others = accepted(SignGuard()(rows, None, Context(generator=seeded())), 6)
    assert bad == 0
    assert others > 0.6


def test_clipped_clustering_rejects_the_smaller_cluster():
    rows = torch.cat([honest(12), 10 * normal(1, D, seed=7) + 0.1 * normal(8, D, seed=8)])
    assert accepted(ClippedClustering()(rows), 8) == (0, 1)


def test_deepsight_rejects_updates_of_few_neurons():
    bad, others = accepted(DeepSight(images=100)(backdoored(16, 5), None, inspected()), 5)
    assert bad == 0
    assert others > 0.8


def test_auror_rejects_who_keeps_standing_apart():
    rows = torch.cat([honest(12), honest(5, seed=4) - 2])
    assert accepted(Auror()(rows), 5) == (0, 1)


def test_lasa_rejects_in_the_poisoned_layer_alone():
    rows = honest(16, d=200)
    rows[12:, :100] *= -3
    layout = (("first", torch.Size([100])), ("second", torch.Size([100])))
    result = LASA()(rows, None, Context(layout=layout))
    bad, others = accepted(result, 4)
    assert others == 1
    assert 0 < bad <= 0.5 * 4 / 12
    clean = LASA()(rows[:, :100], None, Context())
    assert accepted(clean, 4)[0] == 0


def played(rule, attack=None, *, attackers=4, n=16, turns=20):
    """Return the last round of clients that walk to their optima on a common quadratic."""
    matrix = normal(D, D, seed=4)
    hessian = matrix @ matrix.T / D
    optimum, model, state = 0.3 * normal(n, D, seed=6), normal(D, seed=5), {}
    for number in range(1, turns + 1):
        rows = 0.1 * (optimum - model) @ hessian + 0.002 * normal(n, D, seed=100 + number)
        if attack is not None:
            rows[n - attackers :] = attack(rows[n - attackers :], number)
        context = Context(
            round=number, client_ids=tuple(range(n)), model=model, state=state, generator=seeded(number)
        )
        result = rule(rows, None, context)
        state, model = result.state, model + result.update
    return result


def test_fldetector_finds_inconsistent_clients_and_lets_consistent_ones_be():
    def inconsistent(rows, number):
        return rows + 0.3 * rows.norm() / D**0.5 * normal(*rows.shape, seed=number)

    assert accepted(played(FLDetector(window=5), inconsistent), 4) == (0, 1)
    assert bool((played(FLDetector(window=30), inconsistent).trust > 0).all())  # nobody is judged yet
    assert float((played(FLDetector(window=5)).trust > 0).double().mean()) > 0.6


def test_flanders_rejects_noise_once_it_has_a_past():
    def noise(rows, number):
        return 3 * normal(*rows.shape, seed=number)

    assert accepted(played(Flanders(byzantine=4), noise, turns=1), 4)[0] > 0
    assert accepted(played(Flanders(byzantine=4), noise, turns=6), 4) == (0, 1)


def test_afa_blocks_for_good():
    state = {}
    for number in range(1, 8):
        rows = torch.cat([honest(12, seed=number), -honest(1, seed=50 + number)])
        state = AFA()(rows, None, Context(round=number, state=state)).state
    reformed, others = accepted(AFA()(honest(13, seed=70), None, Context(round=8, state=state)), 1)
    assert reformed == 0
    assert others > 0.7
    assert bool(AFA()(honest(13, seed=70)).trust[-1] > 0)


def test_slsgd_bounds_what_outliers_do():
    rows = torch.cat([honest(9), torch.full((2, D), 1e6, dtype=torch.float64)])
    assert float(SLSGD(byzantine=2)(rows).update.abs().max()) < 3

"""The rules that trust and cluster give what their papers say, and refuse what they cannot work with."""

from __future__ import annotations

import oracles_trust as oracles
import pytest
import torch
from agreement import close
from linear_updates import CLASSES, LAYOUT, PIXELS, D, backdoored, honest, inspected, normal, seeded

from strategies.afa import AFA
from strategies.auror import Auror
from strategies.clipped_clustering import ClippedClustering
from strategies.deepsight import DeepSight
from strategies.flame import Flame
from strategies.flanders import Flanders
from strategies.fldetector import FLDetector
from strategies.fltrust import FLTrust
from strategies.foolsgold import FoolsGold
from strategies.lasa import LASA
from strategies.rule import Context, InputError
from strategies.signguard import SignGuard
from strategies.slsgd import SLSGD


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
        (lambda: AFA(slack=0), "slack, step, prior"),
        (lambda: AFA(certainty=1), "certainty: got 1"),
        (lambda: SLSGD(byzantine=-1), "byzantine: got -1"),
        (lambda: SLSGD(alpha=0), "alpha: got 0"),
    ],
)
def test_impossible_knobs_are_refused(build, fault):
    with pytest.raises(ValueError, match=fault):
        build()

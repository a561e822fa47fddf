"""The rules that filter clients or signs give what their papers say, and reject whom they were made for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aggregating import CLASSES, LAYOUT, PIXELS, D, close, honest, normal, seeded
from oracles import filters as oracles

from strategies import Pipeline
from strategies.base import Context, InputError
from strategies.preaggregators import Foundation
from strategies.rules.alignins import AlignIns
from strategies.rules.fedseca import FedSECA
from strategies.rules.freqfed import FreqFed
from strategies.rules.lfighter import LFighter
from strategies.rules.median import Median
from strategies.rules.multi_metrics import MultiMetrics
from strategies.rules.residual_reweighting import ResidualReweighting
from strategies.rules.rflbat import RFLBAT
from strategies.rules.three_sigma import ThreeSigma

MODEL = normal(D, seed=3)


def the_same(result, update, kept):
    close(result.update, update)
    assert ((result.trust > 0).numpy() == kept).all()


@pytest.mark.parametrize("n", [7, 12])
@pytest.mark.parametrize("bounds", [(1.0, 1.0), (1.5, 2.0)])
def test_alignins_is_the_papers(n, bounds):
    rows = honest(n, seed=n)
    rows[0] *= -2
    rule = AlignIns(sign_bound=bounds[0], direction_bound=bounds[1])
    the_same(
        rule(rows, None, Context(model=MODEL)), *oracles.alignins(rows.numpy(), MODEL.numpy(), 0.3, *bounds)
    )


def test_alignins_keeps_the_model_if_nobody_is_ordinary():
    result = AlignIns()(honest(2), None, Context(model=MODEL))
    assert not bool(result.update.any())
    assert not bool(result.trust.any())


@pytest.mark.parametrize("rule", [AlignIns(), MultiMetrics()], ids=repr)
def test_no_model_is_an_error(rule):
    with pytest.raises(InputError, match="model: got none"):
        rule(honest(5))


@pytest.mark.parametrize("compare", ["global", "pairs"])
@pytest.mark.parametrize("n", [7, 13])
def test_multi_metrics_is_the_papers_or_the_authors(n, compare):
    rows = honest(n, seed=n)
    rows[0] *= 4
    result = MultiMetrics(kept=0.5, compare=compare)(rows, None, Context(model=MODEL))
    the_same(result, *oracles.multi_metrics(rows.numpy(), MODEL.numpy(), 0.5, compare))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_multi_metrics_scores_a_few_clients(n):
    assert bool(MultiMetrics()(honest(n), None, Context(model=MODEL)).trust.any())


@pytest.mark.parametrize("sparsity", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("n", [6, 9])
def test_fedseca_is_the_papers(n, sparsity):
    rows = honest(n, seed=n)
    rows[0] *= -8
    result = FedSECA(sparsity=sparsity)(rows)
    update, trust = oracles.fedseca(rows.numpy(), sparsity)
    close(result.update, update)
    close(result.trust, trust)


def flipped(n, attackers):
    """Return updates whose last rows move two output neurons the other way."""
    rows = 0.3 * honest(n, drift=0.1)
    for row in rows[n - attackers :]:
        row[PIXELS : 2 * PIXELS] = 2 + 0.1 * row[PIXELS : 2 * PIXELS]
        row[3 * PIXELS : 4 * PIXELS] = -2 + 0.1 * row[3 * PIXELS : 4 * PIXELS]
    return rows


@pytest.mark.parametrize("attackers", [1, 3])
def test_lfighter_is_the_authors_and_rejects_flips(attackers):
    rows = flipped(9, attackers)
    result = LFighter()(rows, None, Context(layout=LAYOUT))
    update, kept = oracles.lfighter(rows.numpy(), CLASSES, PIXELS)
    the_same(result, update, kept)
    assert kept.tolist() == [True] * (9 - attackers) + [False] * attackers


def test_lfighter_clusters_all_output_weights_of_two_classes():
    layout = (("hidden", torch.Size([D - 20])), ("weight", torch.Size([2, 9])), ("bias", torch.Size([2])))
    rows = honest(8, drift=0.1)
    rows[6:, D - 20 : D - 2] = 9 + 0.1 * rows[6:, D - 20 : D - 2]
    rows[:2, : D - 20] *= 50  # is not looked at
    assert (LFighter()(rows, None, Context(layout=layout)).trust > 0).tolist() == [True] * 6 + [False] * 2


@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("n", [7, 10])
def test_freqfed_is_the_papers(n, share):
    rows = honest(n, seed=n)
    rows[:2] *= -1
    the_same(FreqFed(low=share)(rows), *oracles.freqfed(rows.numpy(), share))


@pytest.mark.parametrize("bound", [1.0, 2.0])
@pytest.mark.parametrize("n", [5, 12])
def test_three_sigma_is_the_benchmarks(n, bound):
    rows = honest(n, seed=n)
    rows[0] += 5
    the_same(ThreeSigma(bound=bound)(rows), *oracles.three_sigma(rows.numpy(), bound))


def test_three_sigma_of_ten_rejects_nobody():
    rows = honest(10)
    rows[0] += 1000
    assert bool((ThreeSigma(bound=3)(rows).trust > 0).all())
    assert not bool((ThreeSigma(bound=2.8)(rows).trust > 0).all())


@pytest.mark.parametrize("parameters", [(2.0, 0.1, 2.0), (0.5, 0.6, 1.0)])
@pytest.mark.parametrize("n", [3, 7, 12])
def test_residual_reweighting_is_the_authors(n, parameters):
    rows = honest(n, seed=n)
    rows[0] -= 5
    confidence, threshold, power = parameters
    result = ResidualReweighting(confidence=confidence, threshold=threshold, power=power)(rows)
    update, weights = oracles.residual_reweighting(rows.numpy(), *parameters)
    close(result.update, update)
    close(result.trust, weights)


def test_residual_reweighting_trusts_all_alike_on_a_line_and_attackers_least():
    line = torch.arange(5.0)[:, None].expand(5, 3)
    assert ResidualReweighting()(line).trust.tolist() == [0.2] * 5
    rows = honest(10, drift=0.1)
    rows[:2] = 50
    trust = ResidualReweighting()(rows).trust
    assert float(trust[:2].max()) < 0.2 * float(trust[2:].min())


@pytest.mark.parametrize("n", [10, 14])
def test_rflbat_is_backfeds_and_rejects_the_alike(n):
    rows = honest(n, seed=n, drift=0.1)
    rows[:3] = 3 + 0.01 * rows[:3]
    result = RFLBAT()(rows, None, Context(generator=seeded()))
    generator = seeded()
    samples = torch.rand(5, n, 2, generator=generator, dtype=torch.float64).numpy()
    seed = int(torch.randint(2**31, (), generator=generator))
    update, kept = oracles.rflbat(rows.numpy(), 10, 4, samples, seed)
    the_same(result, update, kept)
    assert not kept[:3].any()


def test_rflbat_rejects_what_is_far_from_all():
    rows = honest(12, drift=0.1)
    rows[0] += 1e4
    assert not bool(RFLBAT()(rows, None, Context(generator=seeded())).trust[0])


@pytest.mark.parametrize("copies", [None, 0, 3])
def test_foundation_is_the_papers(copies):
    rows = honest(9, seed=4)
    rows[0] *= 20
    rule = Pipeline(pre=(Foundation(copies=copies),), rule=Median())
    wanted = oracles.foundation(rows.numpy(), 4 if copies is None else copies)
    close(rule(rows).update, np.median(wanted, axis=0))


@pytest.mark.parametrize("copies", [-1, 10**18])
def test_foundation_refuses_numbers_that_cannot_be(copies):
    with pytest.raises(ValueError, match=f"copies: got {copies}, expected 0 to 1000"):
        Foundation(copies=copies)

"""The rules give what other libraries give, where both mean the same."""

from __future__ import annotations

import byzfl
import numpy as np
import pytest
import scipy.stats
import torch
from aggregating import drawn
from flwr.app import ArrayRecord, RecordDict
from flwr.serverapp.strategy.bulyan import aggregate_n_closest_weights
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from flwr.serverapp.strategy.multikrum import select_multikrum
from oracles import selection as oracles

from strategies.base import Context
from strategies.kernels.weighted_sums import mixed
from strategies.preaggregators import ARC, NNM
from strategies.rules.bulyan import Bulyan
from strategies.rules.caf import CAF
from strategies.rules.centered_clipping import CenteredClipping
from strategies.rules.fedavg import FedAvg
from strategies.rules.geometric_median import GeometricMedian
from strategies.rules.krum import Krum
from strategies.rules.mda import MDA
from strategies.rules.median import Median
from strategies.rules.monna import MoNNA
from strategies.rules.multi_krum import MultiKrum
from strategies.rules.norm_clipping import NormClipping
from strategies.rules.smea import SMEA
from strategies.rules.trimmed_mean import MeanAroundMedian, TrimmedMean


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


@pytest.mark.parametrize("iterations", [1, 3])
def test_centered_clipping_starts_where_the_last_round_ended(iterations):
    rule, state, centre = CenteredClipping(tau=0.7, iterations=iterations), {}, np.zeros(5)
    theirs = byzfl.CenteredClipping(L=iterations, tau=0.7)
    for server_round in range(1, 5):
        updates = drawn(6 + server_round % 2, 5, server_round)
        result = rule(torch.from_numpy(updates), None, Context(round=server_round, state=state))
        centre, trust = oracles.centered_clipping(updates, 0.7, iterations, centre)
        np.testing.assert_allclose(result.update, centre)
        np.testing.assert_allclose(result.trust, trust)
        np.testing.assert_allclose(result.update, theirs(updates), rtol=1e-5)
        state = result.state


@pytest.mark.parametrize("f", [0, 1, 3])
@pytest.mark.parametrize("n", [8, 11])
def test_byzfl_agrees_on_whole_updates(n, f):
    updates = drawn(n, 50)
    pairs = [
        (MDA(byzantine=f), byzfl.MDA(f=f)),
        (MoNNA(byzantine=f), byzfl.MoNNA(f=f)),
        (MoNNA(byzantine=f, trusted=4), byzfl.MoNNA(f=f, idx=4)),
        # ByzFL's geometric median starts from 0 and takes T steps, converged or not; ours from the mean.
        (rfa(nu=0.1, iterations=3), byzfl.GeometricMedian(nu=0.1, T=3)),
        (rfa(nu=4.0, iterations=2), byzfl.GeometricMedian(nu=4.0, T=2)),
        (rfa(nu=0.1, iterations=100), byzfl.GeometricMedian(nu=0.1, T=100)),
        (GeometricMedian(), byzfl.GeometricMedian(nu=1e-6, T=300)),
        (CenteredClipping(tau=100.0), byzfl.CenteredClipping()),
        (CenteredClipping(tau=2.0, iterations=4), byzfl.CenteredClipping(L=4, tau=2.0)),
        # ByzFL clips as a pre-aggregator, in place.
        (NormClipping(clip=2.0), lambda x: byzfl.Clipping(c=2.0)(x.copy()).mean(axis=0)),
    ]
    for rule, theirs in pairs:
        ours = rule(torch.from_numpy(updates)).update
        np.testing.assert_allclose(ours, theirs(updates), rtol=1e-5, atol=1e-8, err_msg=repr(rule))


def rfa(nu, iterations):
    return GeometricMedian(nu=nu, iterations=iterations, tolerance=0.0, start="zero")


@pytest.mark.parametrize("f", [0, 1, 3])
@pytest.mark.parametrize("n", [7, 10])
def test_byzfl_agrees_on_smea_where_one_step_of_power_iteration_is_exact(n, f):
    # ByzFL takes one step from a random start, which gives the top eigenvalue only in one dimension.
    updates = drawn(n, 1)
    ours = SMEA(byzantine=f)(torch.from_numpy(updates)).update
    np.testing.assert_allclose(ours, byzfl.SMEA(f=f)(updates), rtol=1e-5)


def test_byzfl_agrees_on_caf_until_a_removed_client_is_the_farthest():
    # In one dimension, as for SMEA. ByzFL's maximum of the deviations includes who is out already: compared
    # is where it stops before that matters, which is after two steps.
    compared = 0
    for seed in range(20):
        updates, weights = drawn(6, 1, seed), np.ones(6)
        for _ in range(2):
            deviations = np.array(oracles.principal(updates, weights)[2])
            weights = weights * (1 - deviations / deviations.max())
        if sum(weights) <= 4:
            ours = CAF(byzantine=1)(torch.from_numpy(updates)).update
            np.testing.assert_allclose(ours, byzfl.CAF(f=1)(updates), rtol=1e-5)
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("n", [3, 4])
def test_rules_that_are_not_strict_equal_byzfl_in_the_smallest_rounds(n):
    # ByzFL takes every n > 2f, where the theorems of Krum and Multi-Krum need n > 2f + 2.
    updates = drawn(n, 1)  # one dimension: see SMEA above
    for ours, theirs in (
        (Krum(byzantine=1, excluded=1, strict=False), byzfl.Krum(f=1)),
        (MDA(byzantine=1, strict=False), byzfl.MDA(f=1)),
        (MeanAroundMedian(byzantine=1, strict=False), byzfl.Meamed(f=1)),
        (MoNNA(byzantine=1, strict=False), byzfl.MoNNA(f=1)),
        (MultiKrum(byzantine=1, excluded=1, strict=False), byzfl.MultiKrum(f=1)),
        (SMEA(byzantine=1, strict=False), byzfl.SMEA(f=1)),
        (TrimmedMean(byzantine=1), byzfl.TrMean(f=1)),
    ):
        result = ours(torch.from_numpy(updates)).update
        np.testing.assert_allclose(result, theirs(updates), rtol=1e-5, err_msg=repr(ours))


@pytest.mark.parametrize(("n", "f"), [(2, 1), (3, 2), (6, 4)])
def test_pre_aggregators_that_are_not_strict_equal_byzfl_without_an_honest_majority(n, f):
    updates = drawn(n, 5)
    for ours, theirs in (
        (ARC(byzantine=f, strict=False), byzfl.ARC(f)),
        (NNM(byzantine=f, strict=False), byzfl.NNM(f)),
    ):
        rows = mixed(ours(torch.from_numpy(updates)), torch.from_numpy(updates))
        np.testing.assert_allclose(rows, theirs(updates.copy()), rtol=1e-5, err_msg=repr(ours))

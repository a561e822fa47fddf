"""The rules that select, weigh or clip whole updates give what ByzFL gives, where both mean the same."""

from __future__ import annotations

import byzfl
import numpy as np
import oracles_selection as oracles
import pytest
import torch
from drawn_updates import drawn

from strategies.caf import CAF
from strategies.centered_clipping import CenteredClipping
from strategies.geometric_median import GeometricMedian
from strategies.mda import MDA
from strategies.monna import MoNNA
from strategies.norm_clipping import NormClipping
from strategies.rule import Context
from strategies.smea import SMEA


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
def test_byzfl_agrees(n, f):
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

"""The rules that select, weigh or clip whole float32 updates decide as in exact arithmetic."""

from __future__ import annotations

import numpy as np
import oracles_selection as oracles
import pytest
from drawn_updates import crowd

from strategies.caf import CAF
from strategies.centered_clipping import CenteredClipping
from strategies.dnc import DnC
from strategies.geometric_median import GeometricMedian
from strategies.mda import MDA
from strategies.monna import MoNNA
from strategies.rule import Context
from strategies.smea import SMEA
from strategies.spectral_filter import SpectralFilter


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

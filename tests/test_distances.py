"""Distances and lengths are right on every scale at once, and so are the picks by them."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from drawn_updates import crowd

from strategies.distances import norms_around, row_norms, squared_distances
from strategies.krum import Krum
from strategies.multi_krum import MultiKrum


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


def test_lengths_are_right_on_every_scale():
    rows = torch.randn(4, 20_000, generator=torch.Generator().manual_seed(0))
    rows *= torch.tensor([[1.0], [0.0], [1e-3], [1e3]])
    for scale in (1e-25, 1.0, 1e25):
        scaled, origin = rows * scale, rows[2] * scale
        torch.testing.assert_close(row_norms(scaled), scaled.double().norm(dim=1), rtol=1e-6, atol=0)
        far = (scaled.double() - origin.double()).norm(dim=1)
        torch.testing.assert_close(row_norms(scaled, origin=origin), far, rtol=1e-6, atol=0)
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    exact = rows.double()
    torch.testing.assert_close(norms_around(exact @ exact.T, shares), (exact - shares @ exact).norm(dim=1))


def test_huge_updates_are_far_away_and_not_chosen():
    rows = crowd(9, 50, common=1, spread=1)
    rows[0], rows[4] = 1e25, -1e25
    wanted = oracles.multi_krum(rows.double().numpy(), 2)[1]
    for rule in (MultiKrum(byzantine=2), Krum(byzantine=2)):
        trust = rule(rows).trust
        assert trust[0] == trust[4] == 0
    np.testing.assert_allclose(MultiKrum(byzantine=2)(rows).trust, wanted)

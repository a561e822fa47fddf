"""The geometric median is the point that no search betters, at every scale and beside outliers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from drawn_updates import drawn

from strategies.geometric_median import GeometricMedian


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

"""The clusterings that rules build on: gap statistic, two means and mean shift."""

from __future__ import annotations

import oracles_clusterings as oracles
import pytest
import torch
from agreement import close
from linear_updates import normal, seeded
from sklearn.cluster import MeanShift, estimate_bandwidth

from strategies.gap_statistic import gap_statistic
from strategies.mean_shift import mean_shift
from strategies.two_means import two_means


@pytest.mark.parametrize("seed", range(8))
def test_the_gap_statistic_tries_all_clusterings(seed):
    values = normal(9, seed=seed).numpy()
    values[: seed % 4] += 6
    samples = torch.rand((10, 9), generator=seeded(seed), dtype=torch.float64).numpy()
    assert gap_statistic(values, seeded(seed)) == oracles.gap_statistic(values, samples, 7)


def test_two_means_tries_all_cuts():
    rows = normal(20, 9).sort(dim=1).values
    below, apart = two_means(rows)
    for row, count, distance in zip(rows, below.tolist(), apart.tolist(), strict=True):
        assert count == len(oracles.best_cut(row.numpy()))
        close(distance, row[count:].mean() - row[:count].mean())


@pytest.mark.parametrize("seed", range(6))
def test_mean_shift_is_scikit_learns(seed):
    points = normal(12 + seed, 3, seed=seed)
    points[: seed + 2] += 4
    bandwidth = estimate_bandwidth(points.numpy(), quantile=0.5)
    labels = MeanShift(bandwidth=bandwidth, cluster_all=False).fit_predict(points.numpy())
    assert mean_shift(points).tolist() == labels.tolist()

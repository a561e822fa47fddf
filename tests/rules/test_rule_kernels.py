"""What rules are built from: distances and lengths, sorted columns, clusterings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from aggregating import close, crowd, normal, seeded
from oracles import coordinates as oracles
from oracles import trust as clusterings
from sklearn.cluster import MeanShift, estimate_bandwidth

from strategies.kernels.distances import norms_around, row_norms, squared_distances
from strategies.kernels.order_statistics import FEW, comparators, over_sorted_columns, sort_columns
from strategies.kernels.spectral import two_means
from strategies.rules.fldetector import gap_statistic
from strategies.rules.krum import Krum
from strategies.rules.multi_krum import MultiKrum
from strategies.rules.signguard import mean_shift


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


@pytest.mark.parametrize("n", range(1, 13))
def test_every_column_of_zeros_and_ones_is_sorted(n):
    # Knuth, volume 3, theorem Z: a network that sorts these sorts everything.
    columns = np.array(list(itertools.product([0, 1], repeat=n)), dtype=np.float32).T
    ordered = np.empty_like(columns)
    sort_columns(columns.copy(), np.empty_like(columns[0]), ordered)
    assert np.array_equal(ordered, np.sort(columns, axis=0))


@pytest.mark.parametrize(("n", "count"), [(2, 1), (4, 5), (8, 19), (16, 63), (32, 191)])
def test_networks_have_as_many_comparators_as_batcher_says(n, count):
    assert len(comparators(n)) == count


@pytest.mark.parametrize("n", [1, 13, FEW, FEW + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_and_many_clients_are_sorted_alike(n, dtype):
    updates = torch.randn(n, 40_000, dtype=dtype, generator=torch.Generator().manual_seed(n))
    kept = updates.clone()

    def read(ordered, values):
        assert torch.equal(ordered, values.sort(dim=1).values)
        return ordered[:, n // 2], values.sum(dim=0)

    result, sums = over_sorted_columns(updates, read)
    assert torch.equal(result, updates.sort(dim=0).values[n // 2])
    torch.testing.assert_close(sums, updates.double().sum(dim=1), rtol=1e-3, atol=1e-2)
    assert torch.equal(updates, kept)


@pytest.mark.parametrize("seed", range(8))
def test_the_gap_statistic_tries_all_clusterings(seed):
    values = normal(9, seed=seed).numpy()
    values[: seed % 4] += 6
    samples = torch.rand((10, 9), generator=seeded(seed), dtype=torch.float64).numpy()
    assert gap_statistic(values, seeded(seed)) == clusterings.gap_statistic(values, samples, 7)


def test_two_means_tries_all_cuts():
    rows = normal(20, 9).sort(dim=1).values
    below, apart = two_means(rows)
    for row, count, distance in zip(rows, below.tolist(), apart.tolist(), strict=True):
        assert count == len(clusterings.best_cut(row.numpy()))
        close(distance, row[count:].mean() - row[:count].mean())


@pytest.mark.parametrize("seed", range(6))
def test_mean_shift_is_scikit_learns(seed):
    points = normal(12 + seed, 3, seed=seed)
    points[: seed + 2] += 4
    bandwidth = estimate_bandwidth(points.numpy(), quantile=0.5)
    labels = MeanShift(bandwidth=bandwidth, cluster_all=False).fit_predict(points.numpy())
    assert mean_shift(points).tolist() == labels.tolist()

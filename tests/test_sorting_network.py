"""The network sorts whatever it is given: by the 0-1 principle, trying zeros and ones is a proof."""

import itertools

import numpy as np
import pytest
import torch

from strategies.order_statistics import FEW, over_sorted_columns
from strategies.sorting_network import comparators, sort_columns


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

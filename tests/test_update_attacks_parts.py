"""What update attacks are built from: moments, inner products and line searches."""

from __future__ import annotations

import torch
from crafting import drawn

from clients.kernels import (
    column_mean,
    column_std,
    inner_products,
    products_with,
    squared_norms,
)
from clients.rule_search import coarse_then_fine, expand_then_contract
from strategies.distances import distances_from_gram


def test_moments_and_products_are_exact_over_chunks():
    rows = drawn(5, 10_000, dtype=torch.float32) + 3
    mean = column_mean(rows)
    torch.testing.assert_close(mean, rows.mean(dim=0))
    for correction in (0, 1):
        torch.testing.assert_close(
            column_std(rows, mean, correction=correction), rows.std(0, correction=correction)
        )
    centred = rows.double() - mean.double()
    products = inner_products(rows[:2], rows[2:], origin=mean)
    torch.testing.assert_close(products, centred @ centred.T, rtol=1e-5, atol=1e-2)
    torch.testing.assert_close(squared_norms(rows, origin=mean), products.diagonal(), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        distances_from_gram(products), torch.cdist(centred, centred).square(), rtol=1e-5, atol=0
    )
    vector = drawn(10_000, seed=1, dtype=torch.float32)
    torch.testing.assert_close(
        products_with(rows, vector, origin=mean), centred @ vector.double(), rtol=1e-4, atol=1e-2
    )
    torch.testing.assert_close(
        products_with(rows, vector), rows.double() @ vector.double(), rtol=1e-4, atol=1e-2
    )


def test_the_searches_keep_what_is_best_so_far():
    def plateau(factor):
        return min(factor, 5.0)

    assert plateau(expand_then_contract(plateau, step=10, evaluations=20)) == 5
    assert plateau(coarse_then_fine(plateau, largest=10, evaluations=20)) == 5
    assert coarse_then_fine(lambda factor: 0.0, largest=8, evaluations=8) == 1  # nothing pays: the smallest

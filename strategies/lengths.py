"""How long updates are, and how far away from a point or from a weighted mean of themselves."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 8192
"""Columns per sum of squares: 100 rows of one chunk fill 3 MB, so that they are moved within the cache."""
LEAST, LARGEST = 1e-30, 1e30
"""Sums of squares that float32 holds well; beyond them they are computed in float64."""


def lengths(updates: Tensor, *, origin: Tensor | None = None) -> Tensor:
    """Return the Euclidean norms (n,), float64, of the rows of `updates` (n, d) minus `origin` (d,).

    >>> lengths(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), origin=torch.tensor([0.0, 1.0]))
    tensor([4.2426, 0.0000], dtype=torch.float64)
    """
    squares = _squares(updates, origin, updates.dtype)
    if updates.dtype != torch.float64 and not LEAST < float(squares.max()) < LARGEST:
        squares = _squares(updates, origin, torch.float64)
    return squares.sqrt()


def _squares(updates: Tensor, origin: Tensor | None, dtype: torch.dtype) -> Tensor:
    total = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
    for start in range(0, updates.shape[1], CHUNK):
        block = updates[:, start : start + CHUNK].to(dtype)
        if origin is not None:
            block = block - origin[start : start + CHUNK]
        total += torch.linalg.vector_norm(block, dim=1).double().square()
    return total


def lengths_from(squared: Tensor, coefficients: Tensor) -> Tensor:
    """Return the distances (n,) of the rows from a weighted mean of them.

    Args:
        squared: squared distances between the rows, (n, n) float64.
        coefficients: the weights of the mean, (n,) float64, which sum to 1.

    >>> lengths_from(torch.tensor([[0.0, 16.0], [16.0, 0.0]]), torch.tensor([0.75, 0.25]))
    tensor([1., 3.])
    """
    towards = squared @ coefficients
    return (towards - coefficients @ towards / 2).clamp(min=0).sqrt()

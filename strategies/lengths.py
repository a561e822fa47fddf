"""How long updates are, and how far away from a point or from a combination of themselves."""

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


def lengths_from(products: Tensor, coefficients: Tensor) -> Tensor:
    """Return the distances (n,) of the rows from their combination with `coefficients` (n,).

    Args:
        products: the rows' inner products, (n, n) float64, from an origin that stands for what the
            coefficients lack to a sum of 1.
        coefficients: (n,) float64.

    >>> line = torch.tensor([0.0, 4.0])
    >>> lengths_from(line[:, None] * line, torch.tensor([0.75, 0.25]))
    tensor([1., 3.])
    """
    towards = products @ coefficients
    squares = products.diagonal() - 2 * towards + coefficients @ towards
    return squares.clamp(min=0).sqrt()

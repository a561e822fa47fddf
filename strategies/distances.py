"""Inner products and distances between updates, exact where nearly equal rows would cancel."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 65_536
"""Columns per product: the float32 partial sums stay short and are added up in float64."""


def centred_gram(updates: Tensor) -> Tensor:
    """Return the inner products (n, n), float64, of the rows moved so that the first row is the origin.

    Distances between nearly equal rows come out right, because what the rows share is gone before
    anything is multiplied.
    """
    return gram(updates, origin=updates[0])


def gram(updates: Tensor, *, origin: Tensor | None = None) -> Tensor:
    """Return the inner products (n, n), float64, of the rows of `updates` (n, d) minus `origin` (d,)."""
    n, d = updates.shape
    total = torch.zeros(n, n, dtype=torch.float64, device=updates.device)
    for start in range(0, d, CHUNK):
        block = updates[:, start : start + CHUNK]
        if origin is not None:
            block = block - origin[start : start + CHUNK]
        total += (block @ block.T).double()
    return total


def squared_distances(updates: Tensor) -> Tensor:
    """Return the squared Euclidean distances (n, n), float64, between the rows of `updates` (n, d).

    >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[ 0., 25.],
            [25.,  0.]], dtype=torch.float64)
    """
    products = centred_gram(updates)
    norms = products.diagonal()
    distances = (norms[:, None] + norms[None, :] - 2 * products).clamp_(min=0)
    return distances.fill_diagonal_(0)

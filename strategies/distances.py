"""Inner products, lengths and distances of updates, exact where nearly equal rows would cancel."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.chunks import CACHED, sum_over_chunks

LEAST_COLUMNS = 2048
"""Columns of a product of matrices, at least: what it gives is n x n."""
CLOSE = 1e-3
"""Rows whose squared distance is a smaller share of their squared norms are looked at again from nearby."""
LEAST, LARGEST = 1e-25, 1e30
"""Squared lengths that float32 products hold well; beyond them they are computed in float64."""


def centred_gram(updates: Tensor) -> Tensor:
    """Return the inner products (n, n), float64, of the rows moved so that the first row is the origin.

    Distances between nearly equal rows come out right, because what the rows share is gone before
    anything is multiplied.
    """
    return gram(updates, origin=updates[0])


def gram(updates: Tensor, *, origin: Tensor | None = None) -> Tensor:
    """Return the inner products (n, n), float64, of the rows of `updates` (n, d) minus `origin` (d,).

    The partial sums of a chunk are as exact as the updates' type; they are added up in float64.
    """
    products = _gram(updates, origin, updates.dtype)
    longest = float(products.diagonal().max())
    if LEAST < longest < LARGEST or updates.dtype == torch.float64:
        return products
    return _gram(updates, origin, torch.float64)


def squared_distances(updates: Tensor) -> Tensor:
    """Return the squared Euclidean distances (n, n), float64, between the rows of `updates` (n, d).

    Rows that lie close together, seen from the first row, are measured again from one of themselves: so
    one client that sends something far out cannot blur the distances between the others.

    >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[ 0., 25.],
            [25.,  0.]], dtype=torch.float64)
    """
    products = centred_gram(updates)
    norms = products.diagonal()
    sums = norms[:, None] + norms[None, :]
    distances = (sums - (products + products.T)).clamp_(min=0).fill_diagonal_(0)
    for rows in _groups(distances < CLOSE * sums):
        distances[rows[:, None], rows] = squared_distances(updates[rows])
    return distances


def row_norms(updates: Tensor) -> Tensor:
    """Return the Euclidean norms (n,), float64, of the rows of `updates` (n, d).

    >>> row_norms(torch.tensor([[3.0, 4.0]]))
    tensor([5.], dtype=torch.float64)
    """
    norms = _row_norms(updates, updates.dtype)
    held = (norms > LEAST**0.5) & (norms < LARGEST**0.5)
    if updates.dtype != torch.float64 and not bool(held.all()):
        norms[~held] = _row_norms(updates[~held], torch.float64)
    return norms


def _row_norms(updates: Tensor, dtype: torch.dtype) -> Tensor:
    def work(columns: slice) -> Tensor:
        part: Tensor = torch.linalg.vector_norm(updates[:, columns], dim=1, dtype=dtype)
        return part.double().square()

    return sum_over_chunks(work, updates, (len(updates),)).sqrt()


def _gram(updates: Tensor, origin: Tensor | None, dtype: torch.dtype) -> Tensor:
    def work(columns: slice) -> Tensor:
        block = updates[:, columns].to(dtype)
        if origin is not None:
            block = block - origin[columns]
        return block @ block.T

    n = len(updates)
    return sum_over_chunks(work, updates, (n, n), values=max(CACHED, n * LEAST_COLUMNS))


def _groups(related: Tensor) -> list[Tensor]:
    """Return the connected components with more than one member of a symmetric relation (n, n).

    The first row is the origin and is never close to another: components shrink as they are taken apart.
    """
    groups = []
    left = related.fill_diagonal_(fill_value=False).any(dim=1)
    while bool(left.any()):
        member = torch.zeros_like(left)
        member[left.nonzero()[0]] = True
        reached = member
        while bool(reached.any()):
            reached = related[reached].any(dim=0) & ~member
            member = member | reached
        groups.append(member.nonzero().flatten())
        left &= ~member
    return groups

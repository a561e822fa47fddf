"""Inner products of long rows, from which attacks search in the span of a few vectors.

Rows are moved by an origin before they are multiplied, and chunks are added up in float64: what nearly
equal updates share is gone before it can cancel.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK = 4096
"""Columns at a time: a hundred rows of them stay in the processor's cache once their origin is taken off."""


def inner_products(*parts: Tensor, origin: Tensor) -> Tensor:
    """Return the inner products (n, n), float64, of the rows of all `parts`, (k, d) each, minus `origin`."""
    n = sum(len(part) for part in parts)
    total = torch.zeros(n, n, dtype=torch.float64, device=origin.device)
    buffer = origin.new_empty(n, min(CHUNK, len(origin)))
    for columns in _chunks(len(origin)):
        shift = origin[columns]
        block = buffer[:, : len(shift)]
        start = 0
        for part in parts:
            torch.sub(part[:, columns], shift, out=block[start : start + len(part)])
            start += len(part)
        total += (block @ block.T).double()
    return total


def products_with(rows: Tensor, vector: Tensor, *, origin: Tensor | None = None) -> Tensor:
    """Return the inner products (n,), float64, of `rows` (n, d) minus `origin` (d,) with `vector` (d,)."""
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for columns in _chunks(len(vector)):
        block = rows[:, columns] if origin is None else rows[:, columns] - origin[columns]
        total += (block @ vector[columns]).double()
    return total


def squared_norms(rows: Tensor, *, origin: Tensor | None = None) -> Tensor:
    """Return the squared lengths (n,), float64, of `rows` (n, d) minus `origin` (d,).

    >>> squared_norms(torch.tensor([[3.0, 4.0]]), origin=torch.tensor([0.0, 4.0]))
    tensor([9.], dtype=torch.float64)
    """
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for columns in _chunks(rows.shape[1]):
        block = rows[:, columns] if origin is None else rows[:, columns] - origin[columns]
        total += torch.linalg.vector_norm(block, dim=1).double().square()
    return total


def squared_distances(products: Tensor) -> Tensor:
    """Return the squared distances (n, n) of the rows behind their inner products (n, n)."""
    squares = products.diagonal()
    return (squares[:, None] + squares - 2 * products).clamp(min=0).fill_diagonal_(0)


def _chunks(d: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, d, CHUNK))

"""Inner products of long rows, from which attacks search in the span of a few vectors.

Rows are moved by an origin before they are multiplied, and chunks are added up in float64: what nearly
equal updates share is gone before it can cancel.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import torch
from torch import Tensor

from clients.in_threads import in_threads

CHUNK = 4096
"""Columns at a time: a hundred rows of them stay in the processor's cache once their origin is taken off,
and a sum over so few is never shared out among threads."""
TINY = 1e-30
"""A shorter vector counts as zero."""


def inner_products(*parts: Tensor, origin: Tensor) -> Tensor:
    """Return the inner products (n, n), float64, of the rows of all `parts`, (k, d) each, minus `origin`."""
    n = sum(len(part) for part in parts)
    total = torch.zeros(n, n, dtype=torch.float64, device=origin.device)
    buffers = _Buffers(n, origin)

    def product(columns: slice) -> Tensor:
        shift = origin[columns]
        block = buffers.rows[:, : len(shift)]
        start = 0
        for part in parts:
            torch.sub(part[:, columns], shift, out=block[start : start + len(part)])
            start += len(part)
        return (block @ block.T).double()

    for product_of_chunk in in_threads(product, list(_chunks(len(origin)))):
        total += product_of_chunk
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


def length(vector: Tensor) -> float:
    """Return the Euclidean length of `vector` (d,), the same bits on any number of threads.

    >>> length(torch.tensor([3.0, 4.0]))
    5.0
    """
    return math.sqrt(float(squared_norms(vector[None])))


def unit(vector: Tensor) -> Tensor:
    """Return `vector` (d,) at length 1; zero stays zero.

    >>> unit(torch.tensor([3.0, 4.0]))
    tensor([0.6000, 0.8000])
    """
    return vector / max(length(vector), TINY)


def squared_distances(products: Tensor) -> Tensor:
    """Return the squared distances (n, n) of the rows behind their inner products (n, n)."""
    squares = products.diagonal()
    return (squares[:, None] + squares - 2 * products).clamp(min=0).fill_diagonal_(0)


class _Buffers(threading.local):
    """A chunk of all rows for each thread: fresh memory for every chunk would cost more than the copies."""

    def __init__(self, n: int, like: Tensor) -> None:
        self.rows = like.new_empty(n, min(CHUNK, len(like)))


def _chunks(d: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, d, CHUNK))

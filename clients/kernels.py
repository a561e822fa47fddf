"""Sums over long rows, and noise for whole updates, with the same bits on any number of threads.

The kernels subtract an origin from the rows before they multiply them, and add up chunks in float64. So the
common part of nearly equal updates causes no cancellation.
"""

import math
import threading
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strategies.kernels.columns import over_chunks, sum_over_chunks

CHUNK = 4096
"""Columns per chunk. A hundred rows of a chunk fit into the processor's cache."""
BLOCK = 1 << 18
"""Numbers per random stream."""
TINY = 1e-30
"""Length below which a vector counts as zero."""

Fill = Callable[[np.random.Generator, NDArray[np.floating]], object]
"""`fill(stream, block)` fills a block with numbers of the stream."""


def column_mean(rows: Tensor) -> Tensor:
    """Compute the mean (d,) of `rows` (n, d). The product is several times faster than `Tensor.mean`.

    >>> column_mean(torch.tensor([[1.0, 4.0], [3.0, 0.0]]))
    tensor([2., 2.])
    """
    return rows.new_ones(len(rows)) @ rows / len(rows)


def column_std(rows: Tensor, mean: Tensor, *, correction: int = 0) -> Tensor:
    """Compute the standard deviation (d,) of `rows` (n, d) around their `mean` (d,). A single row has 0.

    >>> column_std(torch.tensor([[1.0, 4.0], [3.0, 0.0]]), torch.tensor([2.0, 2.0]))
    tensor([1., 2.])
    """
    n = len(rows)
    spread = torch.zeros_like(mean)
    if n > 1:
        ones = rows.new_ones(n)
        for columns in _chunks(rows):
            # A product with ones adds up rows several times faster than a sum over the first axis.
            spread[columns] = ones @ (rows[:, columns] - mean[columns]).square_()
        spread.div_(n - correction).sqrt_()
    return spread


def inner_products(*parts: Tensor, origin: Tensor) -> Tensor:
    """Compute the inner products (n, n), float64, of the rows of all `parts`, (k, d) each, minus `origin`.

    The function does not concatenate the parts: with a million parameters the copy doubles the time.
    """
    n = sum(len(part) for part in parts)
    buffers = _Buffers(n, origin)

    def work(columns: slice) -> Tensor:
        shift = origin[columns]
        block = buffers.rows[:, : len(shift)]
        start = 0
        for part in parts:
            torch.sub(part[:, columns], shift, out=block[start : start + len(part)])
            start += len(part)
        return block @ block.T

    like = origin.expand(max(n, 1), -1)  # only its shape counts: chunks of CHUNK columns
    return sum_over_chunks(work, like, (n, n), values=CHUNK * len(like))


def products_with(rows: Tensor, vector: Tensor, *, origin: Tensor | None = None) -> Tensor:
    """Compute the inner products (n,), float64, of `rows` (n, d) minus `origin` (d,) with `vector` (d,)."""
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for columns in _chunks(rows):
        block = rows[:, columns] if origin is None else rows[:, columns] - origin[columns]
        total += block @ vector[columns]
    return total


def squared_norms(rows: Tensor, *, origin: Tensor | None = None) -> Tensor:
    """Compute the squared lengths (n,), float64, of `rows` (n, d) minus `origin` (d,).

    >>> squared_norms(torch.tensor([[3.0, 4.0]]), origin=torch.tensor([0.0, 4.0]))
    tensor([9.], dtype=torch.float64)
    """
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for columns in _chunks(rows):
        block = rows[:, columns] if origin is None else rows[:, columns] - origin[columns]
        total += torch.linalg.vector_norm(block, dim=1).double().square()
    return total


def euclidean_norm(vector: Tensor) -> float:
    """Compute the Euclidean length of `vector` (d,).

    >>> euclidean_norm(torch.tensor([3.0, 4.0]))
    5.0
    """
    return math.sqrt(float(squared_norms(vector[None])))


def unit_vector(vector: Tensor) -> Tensor:
    """Scale `vector` (d,) to length 1. A zero vector stays zero.

    >>> unit_vector(torch.tensor([3.0, 4.0]))
    tensor([0.6000, 0.8000])
    """
    return vector / max(euclidean_norm(vector), TINY)


def normals(like: Tensor, generator: torch.Generator) -> Tensor:
    """Sample standard normal noise of the shape, dtype and device of `like`.

    >>> normals(torch.zeros(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    return _filled(
        like, generator, lambda stream, block: stream.standard_normal(dtype=block.dtype, out=block)
    )


def uniforms(like: Tensor, generator: torch.Generator) -> Tensor:
    """Sample uniform noise from 0 to below 1, of the shape, dtype and device of `like`."""
    return _filled(like, generator, lambda stream, block: stream.random(dtype=block.dtype, out=block))


def _filled(like: Tensor, generator: torch.Generator, fill: Fill) -> Tensor:
    """Sample noise like `like` with NumPy, whose streams run in threads. Each block has its own stream."""
    drawn = torch.empty(1, like.numel(), dtype=torch.promote_types(like.dtype, torch.float32))
    numbers = drawn[0].numpy()
    seeds = torch.randint(2**63 - 1, (-(-len(numbers) // BLOCK),), generator=generator).tolist()

    def work(block: slice) -> None:
        fill(np.random.Generator(np.random.SFC64(seeds[block.start // BLOCK])), numbers[block])

    over_chunks(work, drawn, values=BLOCK)
    return drawn.view(like.shape).to(like)


class _Buffers(threading.local):
    """Buffer for a chunk of all rows, per thread. New memory per chunk would cost more than the copies."""

    def __init__(self, n: int, like: Tensor) -> None:
        self.rows = like.new_empty(n, min(CHUNK, len(like)))


def _chunks(rows: Tensor) -> Iterator[slice]:
    """Yield chunks of the columns of `rows` (n, d), in this thread: a thread per chunk costs more time.

    torch does not split a sum over so few columns among threads, so their number changes no bit.
    """
    return (slice(start, start + CHUNK) for start in range(0, rows.shape[1], CHUNK))

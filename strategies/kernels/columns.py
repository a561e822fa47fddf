"""Computations on a matrix in chunks of columns, in parallel, with the same bits on any number of threads.

torch and BLAS split one operation among their threads, and the split changes the order of sums and so the
last bits. Here, chunks depend only on the shape, each chunk is computed by one thread, and results are added
in order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

Layout = tuple[tuple[str, torch.Size], ...]
"""Names and shapes of a model's parameters, in the order of their columns in an update."""


def use_one_thread() -> None:
    """Set the intra-op threads of the calling thread to one. A pool uses it as initializer.

    At its first parallel operation, or when it reads the count, a thread copies the count of the process and
    overwrites its own. So this function reads the count first and sets it then.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """Set the number of torch's intra-op threads inside the context, and restore it afterwards.

    >>> with intra_op_threads(1):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Return a context with one thread, for operations whose last bits depend on the number of threads."""
    return intra_op_threads(1)


Done = TypeVar("Done")

CACHED = 400_000
"""Number of values per chunk that stays in the cache: 1.6 MB as float32. Such a chunk takes much longer than
the interpreter's overhead."""
STREAMED = 6_000_000
"""Number of values per chunk that is read once from memory, in long runs of every row."""
PADDING = 16
"""Extra columns between the rows of a buffer, so that the rows do not compete for the same cache lines."""


def over_chunks(work: Callable[[slice], Done], updates: Tensor, *, values: int = CACHED) -> list[Done]:
    """Return `work(columns)` for every chunk of columns of `updates` (n, d), in order.

    Each call computes with one thread, in torch and in NumPy. As many calls as torch has threads run at a
    time. On an accelerator, the calls run one after the other. NumPy's number of threads is a setting of the
    process, so do not aggregate in several threads of one process at a time.

    >>> over_chunks(lambda columns: columns.stop - columns.start, torch.zeros(10, 150), values=640)
    [64, 64, 22]

    Args:
        work: function of the columns of one chunk.
        updates: the matrix. Only its shape and device are used.
        values: approximate number of values per chunk.
    """
    return list(_each(work, updates, values))


def sum_over_chunks(
    work: Callable[[slice], Tensor], updates: Tensor, shape: tuple[int, ...], *, values: int = CACHED
) -> Tensor:
    """Return the sum, in float64, of the results of `work`, of this `shape`, on every chunk of columns.

    Runs as `over_chunks` does, but does not store the summands.
    """
    total = torch.zeros(shape, dtype=torch.float64, device=updates.device)
    for part in _each(work, updates, values):
        total += part
    return total


def columns_of(n: int, values: int) -> int:
    """Return the number of columns of a chunk of n rows and about this number of values."""
    return max(64, values // n)


def _each(work: Callable[[slice], Done], updates: Tensor, values: int) -> Iterator[Done]:
    n, d = updates.shape
    size = columns_of(n, values)
    runs = [slice(start, min(start + size, d)) for start in range(0, d, size)]
    threads = torch.get_num_threads()
    workers = min(len(runs), threads)
    if updates.device.type != "cpu":
        yield from map(work, runs)
        return
    try:
        with _blas().limit(limits=1, user_api="blas"):
            if workers <= 1:
                torch.set_num_threads(1)
                yield from map(work, runs)
                return
            with ThreadPoolExecutor(workers, initializer=use_one_thread) as pool:
                yield from pool.map(work, runs)
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _blas() -> ThreadpoolController:
    """Return the controller of the threads of NumPy's products. Its construction is slow."""
    return ThreadpoolController()

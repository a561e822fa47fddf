"""Work on a matrix in runs of columns: in parallel, and the same to the last bit on any number of threads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from strategies.one_thread import stay_single

Done = TypeVar("Done")

CACHED = 400_000
"""Values of a chunk that stays in the caches: 1.6 MB as float32, and enough work for the interpreter not to
count."""
STREAMED = 6_000_000
"""Values of a chunk that is read once from memory: long runs of every row."""
PADDING = 16
"""Columns between the rows of a chunk, so that not all of them fall on the same few lines of the cache."""


def over_chunks(work: Callable[[slice], Done], updates: Tensor, *, values: int = CACHED) -> list[Done]:
    """Return `work(columns)` for every run of columns of `updates` (n, d), in order.

    Each call computes with one thread, in torch and in NumPy, and the runs are cut the same way everywhere:
    parallelism comes from several calls at a time, as many as torch has threads, and never changes a bit of a
    result. On an accelerator the calls follow one another. How many threads NumPy takes is a setting of the
    whole process: do not aggregate in several threads of one process at a time.

    >>> over_chunks(lambda columns: columns.stop - columns.start, torch.zeros(10, 150), values=640)
    [64, 64, 22]

    Args:
        work: given the columns of one chunk.
        updates: the matrix, of which only shape and device are looked at.
        values: about how many values a chunk holds.
    """
    return list(_each(work, updates, values))


def sum_over_chunks(
    work: Callable[[slice], Tensor], updates: Tensor, shape: tuple[int, ...], *, values: int = CACHED
) -> Tensor:
    """Return the sum, in float64, of what `work` returns in this `shape` for every run of columns.

    As `over_chunks`, but what is added up is not kept.
    """
    total = torch.zeros(shape, dtype=torch.float64, device=updates.device)
    for part in _each(work, updates, values):
        total += part
    return total


def columns_of(n: int, values: int) -> int:
    """Return of how many columns n rows hold about so many values."""
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
            with ThreadPoolExecutor(workers, initializer=stay_single) as pool:
                yield from pool.map(work, runs)
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _blas() -> ThreadpoolController:
    """Return what says how many threads NumPy's products take; looking for it takes a while."""
    return ThreadpoolController()

"""Work on a matrix in runs of columns: in parallel, and the same to the last bit on any number of threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Done = TypeVar("Done")


def over_chunks(work: Callable[[slice], Done], updates: Tensor, *, size: int) -> list[Done]:
    """Return `work(columns)` for every run of at most `size` columns of `updates` (n, d), in order.

    Each call computes with one intra-op thread, and the runs are cut the same way everywhere: parallelism
    comes from several calls at a time and never changes a bit of a result. What the calls return has to be
    added up in the order of the list. On an accelerator they follow one another.

    >>> over_chunks(lambda columns: columns.stop - columns.start, torch.zeros(3, 10), size=4)
    [4, 4, 2]
    """
    d = updates.shape[1]
    runs = [slice(start, min(start + size, d)) for start in range(0, d, size)]
    if updates.device.type != "cpu":
        return [work(run) for run in runs]
    threads = torch.get_num_threads()
    try:
        workers = min(len(runs), os.cpu_count() or 1)
        if workers <= 1:
            torch.set_num_threads(1)
            return [work(run) for run in runs]
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, runs))
    finally:
        torch.set_num_threads(threads)

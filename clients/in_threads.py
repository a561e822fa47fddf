"""Work in several threads that gives the same bits whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Done = TypeVar("Done")


def in_threads(work: Callable[[Item], Done], items: Sequence[Item]) -> Iterator[Done]:
    """Yield `work(item)` in order, worked on by as many threads as torch has; each computes with one.

    >>> list(in_threads(abs, [-1, 2]))
    [1, 2]
    """
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=_stay_single) as pool:
        yield from pool.map(work, items)


def _stay_single() -> None:
    torch.get_num_threads()  # makes the thread take over the process's count, which it would do later else
    torch.set_num_threads(1)

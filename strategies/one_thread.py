"""One intra-op thread, where more would change the last bits of a result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


def stay_single() -> None:
    """Have the calling thread compute with one intra-op thread from now on, as the initializer of a pool.

    At its first parallel operation a thread takes over the count of the process, which other threads set for
    themselves, and forgets its own. Reading the count is what makes it take over: so read first, then set.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """Have torch take so many intra-op threads inside, and as many as before outside.

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
    """Return a context that computes with one thread, where more would change the last bits of the result."""
    return intra_op_threads(1)

"""One intra-op thread, where more would change the last bits of a result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stay_single() -> None:
    """Have the calling thread compute with one intra-op thread from now on, as the initializer of a pool.

    At its first parallel operation a thread takes over the count of the process, which other threads set for
    themselves, and forgets its own. Reading the count is what makes it take over: so read first, then set.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one intra-op thread inside, where more would change the last bits of the result.

    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

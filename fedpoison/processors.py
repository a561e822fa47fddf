"""Number of processors that this process may use."""

from __future__ import annotations

import os


def processor_count() -> int:
    """Return how many processors this process may use: fewer than the machine has, under a limit.

    Job schedulers such as Slurm, containers and `taskset` set such limits. More threads than processors slow
    each other down.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

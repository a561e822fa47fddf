"""Memory of an aggregation, measured on random updates."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import torch

from strategies.base import AggregationRule, InputError, PreconditionError

COORDINATES = 400_000
"""Number of parameters of the measured updates, with which the matrix is much larger than all else."""
_STATUS = Path("/proc/self/statm")


def relative_memory(rule: AggregationRule, clients: int) -> float | None:
    """Measure the largest memory of an aggregation beyond its input, relative to the matrix of updates.

    A thread reads the memory of this process while the rule aggregates random updates.

    Args:
        rule: Rule to measure. Rules that need the model or root data cannot aggregate random updates.
        clients: Number of updates.

    Returns:
        Bytes per byte of the matrix. None: the rule needs more than updates, or the system does not show the
        memory of a process.
    """
    if not _STATUS.is_file():
        return None
    updates = torch.randn(clients, COORDINATES, generator=torch.Generator().manual_seed(0))
    done = threading.Event()
    highest = [before := _resident()]

    def watch() -> None:
        while not done.wait(0.0005):
            highest[0] = max(highest[0], _resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        rule(updates)
    except (InputError, PreconditionError):
        return None
    finally:
        done.set()
        watcher.join()
    return (highest[0] - before) / updates.nbytes


def _resident() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

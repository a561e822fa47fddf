"""Memory of a process and its descendants, on Linux."""

from __future__ import annotations

import contextlib
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
EVERY = 0.5
"""Seconds between two measurements."""


def watched(process: subprocess.Popen[str], timeout: float) -> tuple[str, str, int]:
    """Wait for `process` and return its output, its errors and its tree's peak memory in bytes.

    Memory that processes share counts once (proportional set size).

    Raises:
        subprocess.TimeoutExpired: it was not done in time, and is ended.
    """
    peak, waited = 0, 0.0
    while True:
        try:
            out, err = process.communicate(timeout=EVERY)
        except subprocess.TimeoutExpired:
            waited += EVERY
            peak = max(peak, sum(map(_memory, tree(process.pid))))
            if waited > timeout:
                process.terminate()
                process.communicate()
                raise
        else:
            return out, err, peak


def tree(root: int) -> Iterator[int]:
    """Yield the process `root` and its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for folder in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()
            children[int(state[1])].append(int(folder.name))
    waiting = [root]
    while waiting:
        process = waiting.pop()
        yield process
        waiting += children[process]


def _memory(process: int) -> int:
    with contextlib.suppress(OSError):
        for line in (PROC / str(process) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0

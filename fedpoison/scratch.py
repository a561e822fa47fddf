"""Temporary folders that the next run removes if their process was killed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".in-use"
"""File in a temporary folder that its process locks. The system unlocks it when the process ends."""


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a new temporary folder, and remove it when the context ends.

    Folders with this prefix that killed processes left are removed first.

    Args:
        prefix: start of the folder's name.
        parent: folder that contains it. Default: the folder of the system for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    for left in parent.glob(f"{prefix}*/{LOCK}"):
        _remove_unused(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as folder, FileLock(Path(folder) / LOCK):
        yield Path(folder)


def _remove_unused(lock: Path) -> None:
    """Remove the folder of a lock file, unless a process uses it or it belongs to another user."""
    with suppress(Timeout, OSError), FileLock(lock, timeout=0):
        shutil.rmtree(lock.parent, ignore_errors=True)

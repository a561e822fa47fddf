"""What every writer of files has in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpoison.errors import RunError


@contextmanager
def writing(path: Path, remedy: str = "") -> Iterator[None]:
    """Have what the operating system refuses be an error that names the path and, if given, the remedy.

    Raises:
        RunError: `path`, or something in it, cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}){remedy}.") from None

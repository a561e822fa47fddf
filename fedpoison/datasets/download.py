"""Downloads through torchvision: with a progress bar, checked by checksum, all or nothing."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedpoison.datasets.sources import Source
from fedpoison.errors import DataError

PATIENCE = 10.0
"""Seconds without an answer after which a server counts as out of reach."""


def download(name: str, source: Source, root: Path) -> None:
    """Bring the files of `source` into its folder under `root`, or leave nothing behind.

    The files are brought into a folder beside it and moved into place, so that another process never sees
    half of them. Progress is shown on stderr.

    Raises:
        DataError: they cannot be had; the message says what to do.
    """
    import torchvision  # noqa: PLC0415  # a second to import, needed for downloads alone

    assert source.torchvision_class is not None, "a set without a class is never missing"  # noqa: S101
    target = root / source.folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch, _impatient():
            print(f"downloading {name} to {root}", file=sys.stderr)  # noqa: T201  # a person waits
            fetch = getattr(torchvision.datasets, source.torchvision_class)
            with contextlib.redirect_stdout(sys.stderr):
                fetch(scratch, train=True, download=True, **source.download_options)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            (Path(scratch) / source.folder).replace(target)
    except (OSError, RuntimeError) as error:  # torchvision wraps what the network says in a RuntimeError
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{name}: cannot be downloaded to {root} ({reason}). Put its files into {target}, name a folder "
            "with them with --data-dir or FEDPOISON_DATA, or use --dataset digits: it needs no network."
        ) from None


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Give up on servers that do not answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

"""Find a data set on disk, download it if it is missing, and load it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock

from fedpoison.data.sources import DATASETS, Dataset, Source
from fedpoison.errors import DataError
from fedpoison.registry import Registry

AUTO = "auto"
"""MNIST if it is available, and otherwise digits."""
PATIENCE = 10.0
"""Seconds without an answer after which a download fails."""

datasets: Registry[Source] = Registry("data set", DATASETS, "fedpoison.datasets")

_log = logging.getLogger(__name__)


def data_folders(data_dir: Path | None = None) -> list[Path]:
    """Return the folders that are searched, in order: `data_dir`, FEDPOISON_DATA, the user's cache."""
    named = [data_dir, os.environ.get("FEDPOISON_DATA"), platformdirs.user_cache_path("fedpoison")]
    return [Path(folder).expanduser() for folder in named if folder]


def load_dataset(
    name: str,
    *,
    data_dir: Path | None = None,
    download: bool = True,
    notify: Callable[[str], None] = _log.warning,
) -> Dataset:
    """Load a data set from disk. Download it first if no data folder has it.

    Args:
        name: a name in `datasets`, or `auto`: MNIST if it is available, and otherwise the built-in digits.
            `Dataset.name` of the result is the name of the set that was loaded.
        data_dir: a folder in torchvision's layout. It is searched first, and downloads are saved there.
        download: whether to download missing files.
        notify: receives a warning if `auto` falls back to digits.

    Raises:
        ScenarioError: the name is unknown.
        DataError: the set is not available or a file is damaged. The message names the file and the remedy.
    """
    if name != AUTO:
        return _load(name, data_dir, download=download)
    try:
        return _load("mnist", data_dir, download=download)
    except DataError as error:
        notify(
            "MNIST IS NOT AVAILABLE. Using the built-in digits of scikit-learn instead: results are "
            f"not comparable with MNIST. {error}"
        )
        return _load("digits", data_dir, download=False)


def _load(name: str, data_dir: Path | None, *, download: bool) -> Dataset:
    source = datasets[name]
    if not source.folder:
        return Dataset(name, *source.read(Path()))
    folders = data_folders(data_dir)
    if data_dir is not None and not data_dir.is_dir() and not download:
        raise DataError(f"{data_dir}: is not a folder; give one that holds {source.folder}.")
    root = next((folder for folder in folders if (folder / source.folder).is_dir()), None)
    if root is None:
        if not download:
            places = ", ".join(str(folder / source.folder) for folder in folders)
            raise DataError(f"{name}: not found in {places}")
        root = data_dir or folders[-1]
        _download(name, source, root)
    return Dataset(name, *source.read(root))


def _download(name: str, source: Source, root: Path) -> None:
    """Download the files of `source` into its folder under `root`, or leave nothing but an empty lock file.

    The files are downloaded into a scratch folder and then moved, so that no process reads half of them. If
    several processes need the same set, one of them downloads and the others wait. Progress goes to stderr.

    Raises:
        DataError: the download failed. The message gives the reason and the remedy.
    """
    target = root / source.folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(root / ".download.lock"),
            tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch,
            _socket_timeout(PATIENCE),
            contextlib.redirect_stdout(sys.stderr),
        ):
            if target.is_dir():  # another process has downloaded it
                return
            print(f"downloading {name} to {root}", file=sys.stderr)  # noqa: T201  # a person waits
            source.fetch(Path(scratch))
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / source.folder).replace(target)
    except (OSError, RuntimeError) as error:  # torchvision raises network errors as RuntimeError
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{name}: cannot be downloaded to {root} ({reason}). Put its files into {target}, name a folder "
            "with them with --data-dir or FEDPOISON_DATA, or use --dataset digits: it needs no network."
        ) from None


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set the timeout of new connections within the context."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

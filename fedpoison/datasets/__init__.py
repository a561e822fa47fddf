"""Data sets, looked up on disk, downloaded where they are missing, and normalised once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from fedpoison.datasets.download import download as fetch
from fedpoison.datasets.sources import DATASETS, Dataset, Source
from fedpoison.errors import DataError, unknown

__all__ = ["AUTO", "DATASETS", "Dataset", "data_folders", "load_dataset"]

AUTO = "auto"
"""MNIST where it can be had, else digits."""

_log = logging.getLogger(__name__)


def data_folders(data_dir: Path | None = None) -> list[Path]:
    """Return the folders that are searched, in order: the given one, FEDPOISON_DATA, the user's cache."""
    named = [data_dir, os.environ.get("FEDPOISON_DATA"), platformdirs.user_cache_path("fedpoison")]
    return [Path(folder).expanduser() for folder in named if folder]


def load_dataset(
    name: str,
    *,
    data_dir: Path | None = None,
    download: bool = True,
    notify: Callable[[str], None] = _log.warning,
) -> Dataset:
    """Return a data set, from disk or else from the network.

    Args:
        name: one of `DATASETS`, or `auto`: MNIST where it can be had, and else the embedded digits with a
            notice. The `name` of what is returned tells which it was.
        data_dir: a folder in torchvision's layout; searched first, and where downloads go.
        download: whether to download what is not on disk.
        notify: told when `auto` falls back to digits.

    Raises:
        ScenarioError: there is no such data set.
        DataError: it cannot be had, or a file is damaged; the message names the file and the remedy.
    """
    if name != AUTO:
        if name not in DATASETS:
            raise unknown("data set", name, [AUTO, *DATASETS])
        return _load(name, DATASETS[name], data_dir, download=download)
    try:
        return _load("mnist", DATASETS["mnist"], data_dir, download=download)
    except DataError as error:
        notify(
            "MNIST CANNOT BE HAD, SO THIS RUNS ON THE EMBEDDED DIGITS: a small set on which figures differ. "
            f"{error}"
        )
        return _load("digits", DATASETS["digits"], data_dir, download=False)


def _load(name: str, source: Source, data_dir: Path | None, *, download: bool) -> Dataset:
    if source.torchvision_class is None:  # ships with a package: nothing to look for
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
        fetch(name, source, root)
    return Dataset(name, *source.read(root))

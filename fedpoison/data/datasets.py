"""Find a data set on disk, download it if it is missing, and load it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import platformdirs
from filelock import FileLock

from clients.training.samples import Samples
from fedpoison.data.files import ImageFolder, Npz
from fedpoison.data.hub import Hf
from fedpoison.data.objects import Arrays
from fedpoison.data.own import OwnData
from fedpoison.data.sources import DATASETS, Dataset, Source, TorchvisionSource
from fedpoison.data.tables import Csv, Parquet
from fedpoison.errors import DataError, ScenarioError, code_errors
from fedpoison.registry import Registry
from fedpoison.scratch import scratch_folder

AUTO = "auto"
"""MNIST if it is available, and otherwise digits."""
PATIENCE = 10.0
"""Seconds without an answer after which a download fails."""

FORMATS: dict[str, type[OwnData]] = {
    "arrays": Arrays,
    "csv": Csv,
    "hf": Hf,
    "image-folder": ImageFolder,
    "npz": Npz,
    "parquet": Parquet,
}
"""Formats of a user's own data. Each has parameters, such as a path."""

MEMBERS = ("title", "folder", "fetch", "read")
"""Members of a data set without parameters."""

datasets: Registry[Source | type[OwnData]] = Registry(
    "data set", {**DATASETS, **FORMATS}, "fedpoison.datasets", *MEMBERS, dataclass=False
)

_log = logging.getLogger(__name__)


def data_folders(data_dir: str | Path | None = None) -> list[Path]:
    """Return the folders that are searched, in order: `data_dir`, FEDPOISON_DATA, the user's cache."""
    named = [data_dir, os.environ.get("FEDPOISON_DATA"), platformdirs.user_cache_path("fedpoison")]
    return [Path(folder).expanduser() for folder in named if folder]


def find_files(name: str, data_dir: str | Path | None = None) -> Path | None:
    """Return the first data folder that has all files of a data set, or None.

    Raises:
        ScenarioError: the name is unknown.
    """
    source = _source(name)
    return next((root for root in data_folders(data_dir) if not _missing(source, root)), None)


def _source(name: str) -> Source:
    """Return a data set without parameters, or raise ScenarioError."""
    source = datasets[name]
    if isinstance(source, type):
        raise ScenarioError(f"{name}: got no parameters, expected some; use Scenario(dataset='{name}(...)').")
    return source


def _missing(source: Source, root: Path) -> list[str]:
    """Return the files that a data folder lacks. A source that does not list its files needs any file."""
    folder = root / source.folder
    names = source.files if isinstance(source, TorchvisionSource) else ["*"]
    return [name for name in names if not any(folder.glob(name))]


def load_dataset(
    name: str,
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    notify: Callable[[str], None] = _log.warning,
) -> Dataset:
    """Load a data set from disk. Download it first if no data folder has it.

    Args:
        name: a name in `datasets` without parameters, or `auto`: MNIST if it is available, and otherwise the
            built-in digits. `Dataset.name` of the result is the name of the set that was loaded.
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


def _load(name: str, data_dir: str | Path | None, *, download: bool) -> Dataset:
    source = _source(name)
    if not source.folder:
        return _read(name, Path())
    root, folders = find_files(name, data_dir), data_folders(data_dir)
    if root is None:
        if not download:
            raise DataError(f"{name}: {_lacking(source, folders)}")
        root = folders[0] if data_dir else folders[-1]
        _download(name, source, root, _lacking(source, folders))
    return _read(name, root)


def _read(name: str, root: Path) -> Dataset:
    """Read the files under `root`. The code of another package may raise anything, or return anything."""
    with code_errors(f"data set {name}"):
        parts: object = _source(name).read(root)
        match parts:
            case (Samples() as train, Samples() as test):
                return Dataset(name, train, test)
        raise TypeError(f"read returned {type(parts).__name__}, expected two objects of the class Samples")


def _lacking(source: Source, folders: Sequence[Path]) -> str:
    """Return where the set was searched, and which files an incomplete folder lacks."""
    places = {root / source.folder: _missing(source, root) for root in folders}
    found = [
        f"{folder} lacks {', '.join(missing)}" if missing != ["*"] and folder.is_dir() else f"not in {folder}"
        for folder, missing in places.items()
    ]
    return ", ".join(found)


def _download(name: str, source: Source, root: Path, lacking: str) -> None:
    """Download the files of `source` into its folder under `root`, or leave nothing but an empty lock file.

    Files that the folder has, of the same names, are replaced.

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
            scratch_folder(".download-", root) as scratch,
            _socket_timeout(PATIENCE),
            contextlib.redirect_stdout(sys.stderr),
        ):
            if not _missing(source, root):  # another process has downloaded it
                return
            print(f"downloading {name} to {root}", file=sys.stderr)  # noqa: T201  # a person waits
            source.fetch(scratch)
            target.mkdir(parents=True, exist_ok=True)
            for fetched in (scratch / source.folder).iterdir():
                fetched.replace(target / fetched.name)
    except (OSError, RuntimeError) as error:  # torchvision raises network errors as RuntimeError
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{name}: is not on disk ({lacking}), and cannot be downloaded to {root} ({reason}). Put its "
            f"files into {target}, name a folder that contains {source.folder} with --data-dir or "
            "FEDPOISON_DATA, or use --dataset digits: it needs no network."
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

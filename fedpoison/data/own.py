"""Data sets of the user: what they have in common, and how their content gets into the run id."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, Self

from clients.bounds import check_bounds
from clients.training.samples import Samples
from fedpoison.errors import DataError


@dataclass(frozen=True, kw_only=True)
class OwnData(ABC):
    """A data set of the user. A frozen dataclass; its fields are its parameters.

    The fields in `places` say where the data is. They are not part of the run id, and the digest in `content`
    is part of it instead.
    """

    content: str = ""
    """Digest of the content. fedpoison adds it to the scenario of a run."""

    places: ClassVar[tuple[str, ...]] = ()
    folder: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_bounds(self)

    @abstractmethod
    def located(self) -> Self:
        """Return this data set with absolute paths, and the digest of its content now.

        Raises:
            DataError: the data cannot be read.
        """

    @abstractmethod
    def read(self) -> tuple[Samples, Samples]:
        """Return the training and the test set.

        Raises:
            DataError: the data cannot be read or used.
        """

    def fetch(self, root: Path) -> None:  # noqa: B027  # nothing to do
        """Download nothing: the user has the data."""

    @property
    def title(self) -> str:
        """Short name of the data set."""
        return str(getattr(self, self.places[0])) if self.places else type(self).__name__.lower()

    def load(self) -> tuple[Self, Samples, Samples]:
        """Return `located()`, the training set and the test set. Equal content is read once per process.

        Raises:
            DataError: the data cannot be read or used, or its content is not the one that `content` says.
        """
        located = self.located()
        if self.content not in ("", located.content):
            raise DataError(
                f"{self.title}: the content has the digest {located.content}, expected {self.content}, with "
                "which the run was made; restore the data, or remove `content` to start another run."
            )
        train, test = _read_once(located)
        return located, train, test

    def settings(self, *, places: bool) -> dict[str, object]:
        """Return the parameters that are not at their default, with or without the places of the data."""
        left_out = () if places else self.places
        return {
            part.name: getattr(self, part.name)
            for part in fields(self)
            if part.name not in left_out and getattr(self, part.name) != part.default
        }


@lru_cache(maxsize=4)
def _read_once(data: OwnData) -> tuple[Samples, Samples]:
    return data.read()


@dataclass(frozen=True, kw_only=True)
class FileData(OwnData):
    """Base class of data sets in a file or a folder."""

    path: str

    places: ClassVar[tuple[str, ...]] = ("path",)

    @property
    def title(self) -> str:
        return Path(self.path).name

    def located(self) -> Self:
        path = Path(self.path).expanduser().absolute()
        digest = blake2b(digest_size=6)
        try:
            for name, file in self.files(path):
                digest.update(repr((name, file.stat().st_size)).encode())
                with file.open("rb") as opened:
                    while block := opened.read(1 << 20):
                        digest.update(block)
        except OSError as error:
            raise DataError(
                f"{error.filename or path}: cannot be read ({error.strerror}); check the path."
            ) from None
        return replace(self, path=str(path), content=digest.hexdigest())

    @abstractmethod
    def files(self, path: Path) -> Iterator[tuple[str, Path]]:
        """Yield each file of the data set with its name, which does not depend on the folder around it.

        Raises:
            DataError: there is no file.
            OSError: the path cannot be read.
        """


def listed(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Yield the file at `path`, or each file with such a suffix in the folder, sorted by name.

    Raises:
        DataError: there is no such file or folder, or the folder has no such file.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist; give the path of a file or a folder.")
    if path.is_file():
        yield path.suffix, path  # the run does not depend on the name of the only file
        return
    found = [file for file in sorted(path.iterdir()) if file.suffix.lower() in suffixes]
    if not found:
        raise DataError(f"{path}: contains no {' or '.join(suffixes)} file; give another folder.")
    yield from ((file.name, file) for file in found)

"""Data sets in tables of the user: csv and Parquet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from clients.bounds import OpenShare
from clients.training.samples import Samples
from fedpoison.data.arrays import TEST_SHARE, Array, Labelled, to_samples
from fedpoison.data.own import FileData, listed
from fedpoison.errors import DataError, unknown

if TYPE_CHECKING:
    import pandas as pd

MOST_TEXTS = 64
"""Largest number of different texts in a column that becomes one feature per text."""


@dataclass(frozen=True, kw_only=True)
class Table(FileData):
    """Base class of tables with one sample per row."""

    path: str
    """Path of the file, or of a folder with one file per client."""
    label: str
    """Column of the classes: whole numbers or texts."""
    test: str = ""
    """Path of a file with the test set. Default: a share of the rows."""
    client: str = ""
    """Column with the client of each row, for the partition natural. Default: none."""
    ignore: str = ""
    """Columns that are not features, in quotation marks and separated by commas. Default: none."""
    test_share: OpenShare = TEST_SHARE
    """Share of the rows of each class for testing, without a test file."""

    places = ("path", "test")

    @abstractmethod
    def frame(self, path: Path) -> pd.DataFrame:
        """Return the table in a file."""

    @property
    def suffix(self) -> str:
        """Suffix of the files."""
        return f".{type(self).__name__.lower()}"

    def located(self) -> Self:
        test = str(Path(self.test).expanduser().absolute()) if self.test else ""
        return replace(super().located(), test=test)

    def files(self, path: Path) -> Iterator[tuple[str, Path]]:
        yield from listed(path, (self.suffix,))
        if self.test:
            yield "test", Path(self.test).expanduser()

    def read(self) -> tuple[Samples, Samples]:
        path = Path(self.path)
        frames = {file.stem: self._frame(file) for _, file in listed(path, (self.suffix,))}
        test = self._frame(Path(self.test).expanduser()) if self.test else None
        return table_samples(
            self.path,
            frames if path.is_dir() else {"": next(iter(frames.values()))},
            test,
            label=self.label,
            client=self.client,
            ignore=[name.strip() for name in self.ignore.split(",") if name.strip()],
            test_share=self.test_share,
        )

    def _frame(self, path: Path) -> pd.DataFrame:
        try:
            found = self.frame(path)
        except (OSError, ValueError) as error:  # pandas and pyarrow derive their errors from these
            reason = str(error).strip().splitlines()[0]
            raise DataError(
                f"{path}: cannot be read as {self.suffix[1:]} ({reason}); check the file."
            ) from None
        if not len(found):
            raise DataError(f"{path}: contains no row, expected one sample per row; check the file.")
        return found


@dataclass(frozen=True, kw_only=True)
class Csv(Table):
    """Read a table with a header from a csv file. Each column is a feature, and each row is a sample.

    Numbers are normalised. A column of up to 64 different texts becomes one feature per text.
    """

    def frame(self, path: Path) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415  # half a second to import

        return pd.read_csv(path)


@dataclass(frozen=True, kw_only=True)
class Parquet(Table):
    """Read a table from a Parquet file. Each column is a feature, and each row is a sample.

    Numbers are normalised. A column of up to 64 different texts becomes one feature per text.
    """

    def frame(self, path: Path) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415  # half a second to import

        return pd.read_parquet(path)


def table_samples(
    where: str,
    frames: Mapping[str, pd.DataFrame],
    test: pd.DataFrame | None,
    *,
    label: str,
    client: str = "",
    ignore: Sequence[str] = (),
    test_share: float = TEST_SHARE,
    class_names: Sequence[str] = (),
) -> tuple[Samples, Samples]:
    """Return the samples of a table, or of one table per client (by its name).

    Raises:
        DataError: a column is unknown, or its values cannot be used.
    """
    import pandas as pd  # noqa: PLC0415  # half a second to import

    by_client = len(frames) > 1
    train = pd.concat([frame.assign(**{_FILE: name}) for name, frame in frames.items()], ignore_index=True)
    for name in (label, client, *ignore):
        if name and name not in train.columns:
            known = [str(column) for column in train.columns if column != _FILE]
            raise DataError(f"{where}: {unknown('column', name, known)}")
    owners = train[client] if client else train[_FILE] if by_client else None
    if owners is not None and owners.isna().any():
        raise DataError(
            f"{where}: {int(owners.isna().sum())} of {len(owners)} rows have no {client}, expected the "
            "client of each row; remove these rows, or name their client."
        )
    unused = {label, client, _FILE, *ignore}
    needed = [name for name in train.columns if name == label or name not in unused]
    for name, frame in [*frames.items(), *([] if test is None else [("the test set", test)])]:
        lacking = [str(column) for column in needed if column not in frame.columns]
        if lacking:
            raise DataError(
                f"{where}: {name} has no column {lacking[0]}, which other rows have; expected the same "
                f'columns in each file. Add the column, or leave it out with ignore="{lacking[0]}".'
            )
    whole = train if test is None else pd.concat([train, test], ignore_index=True)
    features = _features(where, whole[[name for name in train.columns if name not in unused]])
    labels = _labels(where, whole[label])
    found = Labelled(features, labels)
    if test is not None:
        first = np.arange(len(whole)) < len(train)
        both = found.at(first), found.at(~first)
        own = None if owners is None else owners.to_numpy().astype(str)
        return to_samples(where, Labelled(both[0].x, both[0].y, own), both[1], class_names=class_names)
    if owners is not None:
        found = Labelled(features, labels, owners.to_numpy().astype(str))
    return to_samples(where, *found.split(where, test_share), class_names=class_names)


_FILE = "\0file"
"""Column with the name of a row's file."""


def _labels(where: str, column: pd.Series) -> Array:
    if column.isna().any():
        raise DataError(
            f"{where}: {int(column.isna().sum())} of {len(column)} rows have no {column.name}, expected a "
            "class in each row; remove these rows."
        )
    values = column.to_numpy()
    return values if values.dtype.kind in "fiub" else values.astype(str)


def _features(where: str, columns: pd.DataFrame) -> Array:
    """Return the columns as numbers, (m, d) float64."""
    import pandas as pd  # noqa: PLC0415  # half a second to import

    if columns.empty:
        raise DataError(f"{where}: got no column of features, expected at least one next to the label.")
    for name, column in columns.items():
        if column.isna().any():
            raise DataError(
                f"{where}, column {name}: {int(column.isna().sum())} of {len(column)} values are missing "
                "(NaN), expected a value in each row; remove these rows, fill them, or ignore the column."
            )
        numeric = pd.api.types.is_numeric_dtype(column)
        if not numeric and (different := column.astype(str).nunique()) > MOST_TEXTS:
            raise DataError(
                f"{where}, column {name}: got {different} different texts, expected numbers, or at most "
                f'{MOST_TEXTS} texts; convert the column, or leave it out with ignore="{name}".'
            )
    texts = [name for name, column in columns.items() if not pd.api.types.is_numeric_dtype(column)]
    return pd.get_dummies(columns, columns=texts).to_numpy(dtype=np.float64)

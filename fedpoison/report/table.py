"""The table of a page: columns that a reader sorts and filters, and cells with a text and a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd


@dataclass(frozen=True)
class Column:
    """Column of a table."""

    key: str
    """Name in the address of the page."""
    title: str
    kind: Literal["label", "words", "number"] = "number"
    """label: the row header. words: text to the left. number: sorted by value."""
    filtered: bool = False
    """Whether a choice above the table shows only the rows with one text."""
    first: Literal["highest", "lowest"] = "highest"
    """End of a column of numbers that comes first when a reader sorts by it."""
    wide: bool = False
    """Whether narrow screens leave the column out, since the row header repeats it."""


@dataclass(frozen=True)
class Cell:
    """Cell of a table."""

    text: str
    value: float | None = None
    """Number by which the rows are sorted. None: the text decides, and a missing number is last."""
    note: str = ""
    """Small text behind the cell. In a row header: below it, on narrow screens only."""

    @property
    def order(self) -> str:
        """The value as text, empty if it is missing."""
        return "" if self.value is None or pd.isna(self.value) else f"{self.value:.6g}"


@dataclass(frozen=True, eq=False)
class PageTable:
    """Table of a page, which `table.html.j2` writes and `table.js` sorts and filters."""

    key: str
    """Name of the table in the address of the page."""
    title: str
    """Description for screen readers."""
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

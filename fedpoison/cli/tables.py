"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill, wrap
from typing import Literal

import pandas as pd
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table

from fedpoison.history import History

LONGEST_PIECE = 12
"""A word that is longer may be folded where columns have to be narrow."""
NARROWEST = 4
"""Columns that may be folded are never narrower, so that something of them can be read."""
EDGES = len("│  ")
"""What a column takes beside its text; the table ends with one edge more."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of text: the cells of one with numbers are never folded."""

    name: str
    cells: list[str]
    numbers: bool = False

    @property
    def least(self) -> int:
        """How narrow it can be and still be read."""
        words = [self.name] if self.numbers else [self.name, *self.cells]
        pieces = [cell_len(piece) for text in words for piece in wrap(text, 1, break_long_words=False)]
        whole = map(cell_len, self.cells if self.numbers else ())
        return max(min(LONGEST_PIECE, max(pieces, default=1)), *whole, 1)

    @property
    def most(self) -> int:
        """How wide it is where nothing is folded."""
        return max(map(cell_len, [self.name, *self.cells]))


@dataclass(frozen=True, eq=False)
class Matrix:
    """A table that stands in parts, each with the labels, where its columns do not fit beside each other."""

    title: str
    labels: Sequence[Column]
    others: Sequence[Column]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - 1
        for part, others in enumerate(self._parts(room)):
            yield _part("" if part else self.title, [*self.labels, *others], room)

    def _parts(self, room: int) -> Iterator[Sequence[Column]]:
        """Yield as many columns at a time as there is room for, and one at least."""
        free = room - sum(column.least + EDGES for column in self.labels)
        part: list[Column] = []
        for column in self.others:
            if part and sum(one.least + EDGES for one in [*part, column]) > free:
                yield part
                part = []
            part.append(column)
        yield part


def _part(title: str, columns: Sequence[Column], room: int) -> Table:
    """Return a table with these columns."""
    table = Table(title=escape(title) or None, title_justify="left")
    folded = []
    for column, width in zip(columns, _widths(columns, room), strict=True):
        justify: Literal["right", "left"] = "right" if column.numbers else "left"
        table.add_column(escape(fill(column.name, width)), justify=justify, overflow="fold", width=width)
        folded.append([escape(fill(cell, width)) for cell in column.cells])
    for row in zip(*folded, strict=True):
        table.add_row(*row)
    return table


def _widths(columns: Sequence[Column], room: int) -> list[int]:
    """Return how wide each column is.

    The room that is left goes to the narrowest that still folds, numbers last; where there is too little, the
    widest that may be folded gives way.
    """
    widths = [column.least for column in columns]
    spare = room - sum(width + EDGES for width in widths)
    while spare > 0:
        folding = [place for place, column in enumerate(columns) if widths[place] < column.most]
        if not folding:
            break
        widths[min(folding, key=lambda place: (columns[place].numbers, widths[place]))] += 1
        spare -= 1
    while spare < 0:
        giving = [
            place for place, column in enumerate(columns) if not column.numbers and widths[place] > NARROWEST
        ]
        if not giving:
            break
        widths[max(giving, key=widths.__getitem__)] -= 1
        spare += 1
    return widths


def class_table(columns: dict[str, History]) -> Table:
    """Return the final accuracy of each class (rows) in each history (columns), in per cent.

    With two columns a third gives their difference in points.
    """
    finals = {name: history.last for name, history in columns.items()}
    table = Table(title="Accuracy by class, %", title_justify="left")
    table.add_column("class")
    for name in finals:
        table.add_column(escape(name), justify="right")
    pair = len(finals) == len(("before", "after"))
    if pair:
        table.add_column("difference", justify="right")
    rows = list(zip(*(record.per_class_accuracy for record in finals.values()), strict=True))
    rows.append(tuple(record.accuracy for record in finals.values()))
    for label, values in enumerate(rows):
        last = label == len(rows) - 1
        cells = [percent(value) for value in values]
        if pair:
            difference = 100 * (values[1] - values[0])
            cells.append("-" if pd.isna(difference) else f"{difference:+.1f}")
        table.add_row("all" if last else str(label), *cells, style="bold" if last else None)
    return table


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share in per cent, or a dash for none.

    >>> percent(0.975), percent(None)
    ('97.5', '-')
    """
    return "-" if share is None or pd.isna(share) else f"{100 * share:.{decimals}f}"

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
EDGES = len("│  ")
"""What a column takes beside its text; the table ends with one edge more."""


def matrix(
    title: str, means: pd.DataFrame, spreads: pd.DataFrame | None = None, *, decimals: int = 1
) -> Matrix:
    """Return shares as a table in per cent, with their deviations where there are any."""
    labels = [Column(str(name), []) for name in means.index.names]
    for label in means.index:
        for column, part in zip(labels, label if isinstance(label, tuple) else (label,), strict=True):
            column.cells.append(str(part))
    numbers = []
    for position, name in enumerate(means.columns):
        cells = [percent(value, decimals) for value in means.iloc[:, position]]
        if spreads is not None:
            cells = [
                cell if cell == "-" else f"{cell} ± {percent(deviation, decimals)}"
                for cell, deviation in zip(cells, spreads.iloc[:, position], strict=True)
            ]
        numbers.append(Column(str(name), cells, numbers=True))
    return Matrix(title, labels, numbers)


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
    numbers: Sequence[Column]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - 1
        for part, numbers in enumerate(self._parts(room)):
            yield _part("" if part else self.title, [*self.labels, *numbers], room)

    def _parts(self, room: int) -> Iterator[Sequence[Column]]:
        """Yield as many columns at a time as there is room for, and one at least."""
        free = room - sum(column.least + EDGES for column in self.labels)
        part: list[Column] = []
        for column in self.numbers:
            if part and sum(one.least + EDGES for one in [*part, column]) > free:
                yield part
                part = []
            part.append(column)
        yield part


def _part(title: str, columns: Sequence[Column], room: int) -> Table:
    """Return a table with these columns, the first of which get the room that is left."""
    table = Table(title=escape(title) or None, title_justify="left")
    spare = room - sum(column.least + EDGES for column in columns)
    folded = []
    for column in columns:
        width = column.least + min(max(0, spare), column.most - column.least)
        spare -= width - column.least
        justify: Literal["right", "left"] = "right" if column.numbers else "left"
        table.add_column(escape(fill(column.name, width)), justify=justify, overflow="fold", width=width)
        folded.append([escape(fill(cell, width)) for cell in column.cells])
    for row in zip(*folded, strict=True):
        table.add_row(*row)
    return table


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
            cells.append(f"{100 * (values[1] - values[0]):+.1f}")
        table.add_row("all" if last else str(label), *cells, style="bold" if last else None)
    return table


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share in per cent, or a dash for none.

    >>> percent(0.975), percent(None)
    ('97.5', '-')
    """
    return "-" if share is None or pd.isna(share) else f"{100 * share:.{decimals}f}"

"""Tables and numbers as text: for the terminal, in Markdown and in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill, wrap
from typing import Literal

import pandas as pd
import typer
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from fedpoison.results.history import History
from fedpoison.results.run_frame import percent

Format = Literal["terminal", "markdown", "latex"]

BORDER = len("│  ")
"""Width of the border and the padding of a column."""
LABEL_WIDTH = 12
"""Width that a column of words needs to be readable. Longer words are folded."""
NARROWEST = 4
"""Minimum width of a column of words, even if the table becomes wider than the terminal."""
PAGE = 40
"""Number of rows on a page. In LaTeX, a table with more rows is a `longtable`."""


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of words, or of numbers, which are never folded."""

    name: str
    cells: list[str]
    numbers: bool

    @property
    def width(self) -> int:
        """Width without any folding."""
        return max(map(cell_len, [self.name, *self.cells]))

    @property
    def least(self) -> int:
        """Smallest readable width."""
        foldable = [self.name] if self.numbers else [self.name, *self.cells]
        words = [word for text in foldable for word in wrap(text, 1, break_long_words=False)]
        longest = min(LABEL_WIDTH, max(map(cell_len, words), default=1))
        return max([longest, *map(cell_len, self.cells)]) if self.numbers else longest

    def add_to(self, table: Table, *, whole: bool) -> None:
        """Add the column without its cells to a rich table. Unless `whole`, fold the name over numbers."""
        fixed = self.numbers and not whole
        table.add_column(
            Text(fill(self.name, self.least) if fixed else self.name),
            justify="right" if self.numbers else "left",
            overflow="fold",
            width=self.least if fixed else None,
        )


def _table_width(columns: Iterable[int]) -> int:
    return 1 + sum(width + BORDER for width in columns)


@dataclass(frozen=True, eq=False)
class TextTable:
    """A table of text, which rich prints in the terminal.

    If the columns do not fit into the terminal, rich folds words, never numbers. If they still do not fit,
    the table is split into several parts, each with the row labels.
    """

    title: str
    cells: pd.DataFrame
    labels: int = 1
    """Number of first columns that label the rows."""
    words: Collection[str] = ()
    """Other columns that contain words. The rest contain numbers."""
    total: bool = False
    """Whether the last row summarizes the others, and is bold."""

    @property
    def alignments(self) -> list[Literal["left", "right"]]:
        """Alignment of each column: words to the left, numbers to the right."""
        return [
            "left" if position < self.labels or name in self.words else "right"
            for position, name in enumerate(self.cells.columns)
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [
            _Column(str(name), self.cells.iloc[:, position].to_list(), numbers=alignment == "right")
            for position, (name, alignment) in enumerate(
                zip(self.cells.columns, self.alignments, strict=True)
            )
        ]
        for number, part in enumerate(self._parts(columns, options.max_width)):
            if number == 0:
                yield Text(self.title, style="table.title")
            table = Table()
            whole = _table_width(column.width for column in part) <= options.max_width
            for column in part:
                column.add_to(table, whole=whole)
            for row in zip(*(column.cells for column in part), strict=True):
                table.add_row(*map(Text, row))
            if self.total:
                table.rows[-1].style = "bold"
            narrowest = _table_width(column.least if column.numbers else NARROWEST for column in part)
            yield from console.render(table, options.update_width(max(options.max_width, narrowest)))

    def _parts(self, columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
        """Yield columns that fit side by side: the labels, and at least one other column."""
        part = labels = list(columns[: self.labels])
        for column in columns[self.labels :]:
            if part != labels and _table_width(one.least for one in [*part, column]) > width:
                yield part
                part = labels
            part = [*part, column]
        yield part

    def to_markdown(self) -> str:
        """Return the table in Markdown, below its title in bold."""
        cells = self.cells.map(markdown_text).rename(columns=markdown_text)
        table = cells.to_markdown(index=False, disable_numparse=True, colalign=self.alignments)
        return f"**{markdown_text(self.title)}**\n\n{table}\n"

    def to_latex(self) -> str:
        r"""Return the table in LaTeX, with its title as the caption and the rules of booktabs.

        The document needs `\usepackage{booktabs, longtable}`.
        """
        floats = len(self.cells) <= PAGE
        cells = self.cells.map(latex_text).rename(columns=latex_text)
        return cells.style.hide(axis="index").to_latex(
            hrules=True,
            position="htbp" if floats else None,
            position_float="centering" if floats else None,
            environment=None if floats else "longtable",
            column_format="".join(side[0] for side in self.alignments),
            caption=latex_text(self.title),
        )


def print_tables(tables: Sequence[TextTable], form: Format) -> None:
    """Print tables, and nothing else, to stdout."""
    if form == "terminal":
        for table in tables:
            Console().print(table, crop=False)
        return
    if form == "latex":
        typer.echo("% needs \\usepackage{booktabs, longtable}")
    texts = [table.to_latex() if form == "latex" else table.to_markdown() for table in tables]
    typer.echo("\n".join(texts), nl=False)


def class_table(columns: Mapping[str, History]) -> TextTable:
    """Return the final accuracy in per cent of each class (rows) in each history (columns).

    With two columns, a third one contains their difference in points.
    """
    shares = pd.DataFrame(
        {name: [*history.last.per_class_accuracy, history.last.accuracy] for name, history in columns.items()}
    )
    cells = shares.map(percent)
    if shares.shape[1] == len(("before", "after")):
        gain = 100 * (shares.iloc[:, 1] - shares.iloc[:, 0])
        cells["difference"] = ["-" if pd.isna(points) else f"{points:+.1f}" for points in gain]
    cells.insert(0, "class", [*map(str, range(len(shares) - 1)), "all"])
    return TextTable("Accuracy by class, %", cells, total=True)


def markdown_text(text: str) -> str:
    r"""Escape the markup characters of Markdown.

    >>> print(markdown_text("nnm | krum_2"))
    nnm \| krum\_2
    """
    return re.sub(r"([\\`*_|<])", r"\\\1", text)


def latex_text(text: str) -> str:
    r"""Escape the special characters of LaTeX.

    >>> print(latex_text("50 % of a_b & c"))
    50 \% of a\_b \& c
    """
    return text.translate(_LATEX)


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",  # at the start of a row, LaTeX reads [ as an argument of the preceding line break
        "]": "{]}",
    }
)


def to_records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Return the rows of a frame as plain values, with None for missing numbers."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def format_interval(mean: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return a mean and its interval in per cent. A missing interval is left out.

    >>> format_interval(0.5, 0.25, 0.75), format_interval(0.5, None, None)
    ('50.0 [25.0, 75.0]', '50.0')
    """
    sign = "+" if signed else ""
    if pd.isna(low) or pd.isna(high):
        return f"{100 * mean:{sign}.1f}"
    return f"{100 * mean:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"

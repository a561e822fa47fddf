"""Tables and numbers as text: for the terminal, in Markdown and in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import typer
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from fedpoison.results.history import History
from fedpoison.results.markdown import Alignment, markdown_table, markdown_text
from fedpoison.results.run_frame import percent

Format = Literal["terminal", "markdown", "latex"]

BORDER = len("│  ")
"""Width of the border and the padding of a column."""
NARROWEST = 4
"""Minimum width of a column of words, even if the table becomes wider than the terminal."""
PAGE = 40
"""Number of rows on a page. In LaTeX, a table with more rows is a `longtable`."""


_NAMES = r"[^ |+(,]*(?: *[|+,]|[ (]) *|[^ |+(,]+"
"""Pieces of a text between which a line can end without breaking a name."""
_WORDS = r"[^-_=]*[-_=]+|[^-_=]+"
"""Pieces of a name between which a line can end without breaking a word."""


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of words, or of numbers, which are never folded."""

    name: str
    cells: list[str]
    numbers: bool

    @property
    def least(self) -> int:
        """Smallest width, which breaks words but no number."""
        return max(map(cell_len, self.cells), default=1) if self.numbers else NARROWEST

    @property
    def goals(self) -> list[int]:
        """Smallest widths without a broken word, without a broken name, and without any folding."""
        foldable = [self.name] if self.numbers else [self.name, *self.cells]
        names = [piece for text in foldable for piece in re.findall(_NAMES, text)]
        words = [piece for name in names for piece in re.findall(_WORDS, name)]
        return [
            max([self.least, *(cell_len(piece.rstrip()) for piece in pieces)])
            for pieces in (words, names, foldable)
        ]

    @property
    def readable(self) -> int:
        """Smallest width without a broken name."""
        return self.goals[1]

    def folded(self, width: int) -> Iterator[str]:
        """Yield the cells, with lines of at most `width`."""
        yield from (cell if self.numbers else fold(cell, width) for cell in self.cells)


def fold(text: str, width: int) -> str:
    """Fold a text between names, or inside a name that is too long for a line.

    >>> fold("backdoor+scaled-update(factor=5)", 15).split()
    ['backdoor+', 'scaled-update(', 'factor=5)']
    """
    lines = [""]
    for piece in _pieces(text, width, _NAMES, _WORDS):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _pieces(text: str, width: int, *patterns: str) -> Iterator[str]:
    """Yield the pieces of a text, divided further by the next pattern if they are too wide."""
    for piece in re.findall(patterns[0], text) if patterns else text:
        if cell_len(piece.rstrip()) > width and patterns:
            yield from _pieces(piece, width, *patterns[1:])
        else:
            yield piece


def _table_width(columns: Iterable[int]) -> int:
    return 1 + sum(width + BORDER for width in columns)


def _widths(columns: Sequence[_Column], room: int) -> list[int]:
    """Return a width per column. The narrowest column grows first, up to one goal after the other."""
    widths = [column.least for column in columns]
    for goals in zip(*(column.goals for column in columns), strict=True):
        while _table_width(widths) < room:
            growing = [place for place, goal in enumerate(goals) if widths[place] < goal]
            if not growing:
                break
            widths[min(growing, key=lambda place: widths[place])] += 1
    return widths


@dataclass(frozen=True, eq=False)
class TextTable:
    """A table of text, which rich prints in the terminal.

    If the columns do not fit into the terminal, words are folded between names, and numbers are never
    folded. If they still do not fit, the table is split into several parts, each with the row labels.
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
    def alignments(self) -> list[Alignment]:
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
            widths = _widths(part, options.max_width)
            table = Table()
            for column, width in zip(part, widths, strict=True):
                heading = Text(fold(column.name, width))
                table.add_column(heading, justify="right" if column.numbers else "left", width=width)
            cells = (column.folded(width) for column, width in zip(part, widths, strict=True))
            for row in zip(*cells, strict=True):
                table.add_row(*map(Text, row))
            if self.total:
                table.rows[-1].style = "bold"
            total = max(options.max_width, _table_width(widths))
            yield from console.render(table, options.update_width(total))

    def _parts(self, columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
        """Yield columns that fit side by side: the labels, and at least one other column."""
        part = labels = list(columns[: self.labels])
        for column in columns[self.labels :]:
            if part != labels and _table_width(one.readable for one in [*part, column]) > width:
                yield part
                part = labels
            part = [*part, column]
        yield part

    def to_markdown(self) -> str:
        """Return the table in Markdown, below its title in bold."""
        cells = self.cells.map(markdown_text).rename(columns=markdown_text)
        return f"**{markdown_text(self.title)}**\n\n{markdown_table(cells, self.alignments)}\n"

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
            Console(emoji=False).print(table, crop=False)
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
    cells.insert(0, "class", [*next(iter(columns.values())).class_labels, "all"])
    return TextTable("Accuracy by class, %", cells, total=True)


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

"""Tables of text that print alike in the terminal, in Markdown and in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pandas as pd
import typer
from rich.console import Console

from fedpoison.cli.tables import Column, Matrix, percent

Format = Literal["terminal", "markdown", "latex"]
Form = Annotated[
    Format,
    typer.Option("--format", help="How tables are printed; latex wants booktabs and longtable."),
]
PAGE = 40
"""Rows that fit a page; LaTeX breaks a table with more of them over pages."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table of text."""

    title: str
    cells: pd.DataFrame
    labels: int = 1
    """How many of the first columns name their row."""
    words: Collection[str] = ()
    """Which of the other columns hold words, which may be folded as labels are; the rest hold numbers."""

    @property
    def aligned(self) -> list[Literal["left", "right"]]:
        """Where each column is set: numbers to the right."""
        return [
            "left" if position < self.labels or name in self.words else "right"
            for position, name in enumerate(self.cells.columns)
        ]


def show(sheets: Sequence[Sheet], form: Format) -> None:
    """Print the tables, and nothing else."""
    if form == "terminal":
        for sheet in sheets:
            Console().print(for_terminal(sheet))
        return
    texts = {"markdown": in_markdown, "latex": in_latex}
    if form == "latex":
        typer.echo("% wants \\usepackage{booktabs, longtable}")
    typer.echo("\n".join(texts[form](sheet) for sheet in sheets), nl=False)


def for_terminal(sheet: Sheet) -> Matrix:
    """Return the table for rich, in parts where it is too wide."""
    columns = [
        Column(str(name), list(sheet.cells.iloc[:, position]), numbers=aligned == "right")
        for position, (name, aligned) in enumerate(zip(sheet.cells.columns, sheet.aligned, strict=True))
    ]
    return Matrix(sheet.title, columns[: sheet.labels], columns[sheet.labels :])


def in_markdown(sheet: Sheet) -> str:
    """Return the table as Markdown, with its title in bold above."""
    cells = sheet.cells.map(markdown_text).rename(columns=markdown_text)
    table = cells.to_markdown(index=False, disable_numparse=True, colalign=sheet.aligned)
    return f"**{markdown_text(sheet.title)}**\n\n{table}\n"


def in_latex(sheet: Sheet) -> str:
    r"""Return the table as LaTeX, with its title as the caption and booktabs' rules.

    It compiles with `\usepackage{booktabs, longtable}`.
    """
    floats = len(sheet.cells) <= PAGE
    cells = sheet.cells.map(latex_text).rename(columns=latex_text)
    return cells.style.hide(axis="index").to_latex(
        hrules=True,
        position="htbp" if floats else None,
        position_float="centering" if floats else None,
        environment=None if floats else "longtable",
        column_format="".join(side[0] for side in sheet.aligned),
        caption=latex_text(sheet.title),
    )


def markdown_text(text: str) -> str:
    r"""Return the text with what Markdown would take for markup escaped.

    >>> print(markdown_text("nnm | krum_2"))
    nnm \| krum\_2
    """
    return re.sub(r"([\\`*_|<])", r"\\\1", text)


def latex_text(text: str) -> str:
    r"""Return the text with LaTeX's own characters escaped.

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
        "[": "{[}",  # at the start of a row it would be an argument of the line break before
        "]": "{]}",
    }
)


def records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Return the rows of a frame as plain values; what is not a number is None."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def spread(mean: float | None, deviation: float | None, decimals: int = 1) -> str:
    """Return a mean in per cent with its deviation, where there is one, or a dash for none.

    >>> spread(0.5, 0.25), spread(0.5, None), spread(None, None)
    ('50.0 ± 25.0', '50.0', '-')
    """
    told = percent(mean, decimals)
    return told if told == "-" or pd.isna(deviation) else f"{told} ± {percent(deviation, decimals)}"


def interval(mean: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return a mean in per cent with its interval, where there is one.

    >>> interval(0.5, 0.25, 0.75), interval(0.5, None, None)
    ('50.0 [25.0, 75.0]', '50.0')
    """
    sign = "+" if signed else ""
    if pd.isna(low) or pd.isna(high):
        return f"{100 * mean:{sign}.1f}"
    return f"{100 * mean:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"

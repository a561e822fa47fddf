"""Plotting functions for data frames, readable in print and with colour blindness."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# Okabe and Ito's palette; with line styles and markers, lines also differ in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL = "cividis"
DIVERGING = "PuOr_r"
LUMINANCE = (0.2126, 0.7152, 0.0722)
DARK_CELL = 0.5
"""Brightness of a cell below which its number is white."""
MOST_NUMBERS = 16
"""Columns of a heat map of classes up to which its cells show numbers."""
MOST_TICKS = 15
"""Columns of a heat map up to which each column of whole numbers has a tick."""

_LACKS = r"Glyph (\d+) .*missing from"
"""Warning of matplotlib for each character that the font lacks, each time that matplotlib draws it."""

_log = logging.getLogger(__name__)


class NotebookFigure(Figure):
    """Figure that a notebook shows, also if `matplotlib.pyplot` was never imported."""

    def _repr_png_(self) -> bytes:
        """Return the figure as PNG, which notebooks show."""
        png = BytesIO()
        save(self, png)
        return png.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches."""
    return NotebookFigure(figsize=(width, height), layout="constrained")


def panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with `count` panels, three per row."""
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = new_figure(1 + 3.2 * columns, 0.8 + 2.8 * rows)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    for spare in grid[count:]:
        spare.set_visible(False)
    return figure, list(grid[:count])


def style(position: int) -> dict[str, Any]:
    """Return colour, line style and marker of the series at a position."""
    return {
        "color": COLOURS[position % len(COLOURS)],
        "linestyle": STYLES[position % len(STYLES)],
        "marker": MARKERS[position % len(MARKERS)],
        "markersize": 4,
    }


def lines(
    axes: Axes,
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    series: str,
    names: Iterable[object],
    places: Sequence[object] | None = None,
) -> None:
    """Draw a line per series: the mean at each x, and a band from the lowest to the highest value.

    Args:
        axes: Panel to draw on.
        frame: One row per value. NaN is a gap in the line.
        x: Column of the places along the panel.
        y: Column of the values.
        series: Column that names the series of a value.
        names: Series to draw, in the order of the styles. A series without values only has a legend entry.
        places: All places; a line has a gap where its series has no value. Texts are set side by side.
            Default: the places of each series.
    """
    texts = places is not None and not all(isinstance(place, int | float) for place in places)
    for position, name in enumerate(names):
        found = frame[frame[series] == name].groupby(x, sort=False)[y].agg(["mean", "min", "max", "count"])
        if places is not None:
            found = found.reindex(list(places))
        across = range(len(found)) if texts else found.index
        look = style(position)
        axes.plot(across, found["mean"], label=str(name), markevery=max(1, len(found) // 8), **look)
        if found["count"].gt(1).any():
            axes.fill_between(across, found["min"], found["max"], color=look["color"], alpha=0.15, lw=0)
    if places is not None and texts:
        axes.set_xticks(range(len(places)), [str(place) for place in places], rotation=30, ha="right")
    axes.grid(alpha=0.3)


def accuracy_by_round(
    frame: pd.DataFrame,
    panel: str,
    titles: Mapping[Any, str],
    names: Sequence[str],
    marks: Mapping[str, str] | None = None,
) -> tuple[Figure, Sequence[Axes]]:
    """Return a panel per value of a column, with the accuracy after each round, one line per strategy.

    Args:
        frame: One row per run and round: `strategy`, `round`, `accuracy` in per cent, and the column `panel`.
        panel: Column with a panel per value.
        titles: Titles of the panels by value.
        names: Strategies, in the order of the styles.
        marks: Marks in the names, with their meaning. Default: none.
    """
    figure, grid = panels(len(titles))
    for axes, (value, title) in zip(grid, titles.items(), strict=True):
        lines(axes, frame[frame[panel] == value], x="round", y="accuracy", series="strategy", names=names)
        axes.set(title=title, xlabel="round", ylim=(0, 101))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, grid[0], marks=marks)
    return figure, grid


def legend(
    figure: Figure,
    axes: Axes,
    columns: int = 4,
    title: str | None = None,
    marks: Mapping[str, str] | None = None,
) -> None:
    """Draw the legend of a panel and the meaning of marks below its figure, in at most `columns` columns."""
    handles, labels = axes.get_legend_handles_labels()
    handles, labels = [*handles, *mark_handles(marks or {})], [*labels, *(marks or {}).values()]
    columns = min(columns, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, title=title)


@dataclass(frozen=True)
class Scale:
    """How a heat map shows its values."""

    low: float = 0
    """Value of the first colour."""
    high: float = 100
    """Value of the last colour."""
    colours: str = SEQUENTIAL
    """Colour map of matplotlib."""
    unit: str = "%"
    """Label of the colour bar."""


PER_CENT = Scale()


def mark_legend(figure: Figure, marks: Mapping[str, str]) -> None:
    """Draw the meaning of each mark below a figure. Without marks, draw nothing."""
    if marks:
        handles, meanings = mark_handles(marks), list(marks.values())
        figure.legend(handles, meanings, loc="outside lower center", ncols=len(marks), frameon=False)


def mark_handles(marks: Iterable[str]) -> list[Line2D]:
    """Return a legend entry per mark."""
    return [Line2D([], [], color="black", linestyle="", marker=f"${mark}$") for mark in marks]


def heat_map(
    axes: Axes,
    frame: pd.DataFrame,
    scale: Scale = PER_CENT,
    *,
    numbers: bool = True,
    marks: pd.DataFrame | None = None,
) -> None:
    """Draw a frame as colours, with its index and its columns as ticks.

    Args:
        axes: Panel to draw on.
        frame: Values; NaN is an empty cell.
        scale: Range and colours of the values.
        numbers: Whether cells show their values.
        marks: Text behind the value of each cell, like `frame`. Default: none.
    """
    values = frame.to_numpy(dtype=np.float64)
    image = axes.imshow(values, vmin=scale.low, vmax=scale.high, cmap=scale.colours, aspect="auto")
    axes.figure.colorbar(image, ax=axes, label=scale.unit, fraction=0.05, pad=0.02)
    names = [str(name) for name in frame.columns]
    whole = all(isinstance(name, int | np.integer) for name in frame.columns)
    step = max(1, len(names) // MOST_TICKS) if whole else 1
    axes.set_xticks(range(0, len(names), step), names[::step])
    if not whole:
        axes.tick_params(axis="x", labelrotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_yticks(range(len(frame)), [str(name) for name in frame.index])
    texts = np.full(values.shape, "") if marks is None else marks.to_numpy(dtype=str)
    for (row, column), value in np.ndenumerate(values if numbers else values[:0]):
        dark = not np.isnan(value) and np.dot(image.to_rgba(value)[:3], LUMINANCE) < DARK_CELL
        mark = str(texts[row, column])
        text = (mark or "-") if np.isnan(value) else f"{value:.0f}{mark}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")


def heat_maps(shares: Mapping[str, pd.DataFrame], marks: pd.DataFrame | None = None) -> Figure:
    """Return a heat map per table of shares that has any, in per cent, side by side.

    Args:
        shares: Attacks (rows) by strategies (columns), by the name of the measure.
        marks: Text behind the values of each attack and strategy. Default: none.
    """
    tables = {name: 100 * table for name, table in shares.items()}
    tables = {name: table for name, table in tables.items() if table.notna().any(axis=None)} or tables
    rows, columns = next(iter(tables.values())).shape
    longest = max(len(str(name)) for name in next(iter(tables.values())).index)
    width, height = 1.4 + 1.0 * columns, 1.6 + 0.55 * rows
    names = max(0.0, 0.08 * longest - 1.0)  # short names fit into the first panel
    figure = new_figure(names + width * len(tables), height)
    grid = np.atleast_1d(figure.subplots(1, len(tables), sharey=True))
    for axes, (name, table) in zip(grid, tables.items(), strict=True):
        heat_map(axes, table, marks=marks)
        axes.set_title(f"{name}, %")
    return figure


def single_heat_map(
    frame: pd.DataFrame,
    size: tuple[float, float],
    scale: Scale,
    *,
    numbers: bool = True,
    **names: str,
) -> Figure:
    """Return a figure of one heat map, of `size` in inches; `names` has its title, xlabel and ylabel."""
    figure = new_figure(*size)
    axes = figure.subplots()
    heat_map(axes, frame, scale, numbers=numbers)
    axes.set(**names)
    return figure


def strategy_heat_map(frame: pd.DataFrame, title: str, scale: Scale = PER_CENT) -> Figure:
    """Return the heat map of strategies (rows) by classes (columns)."""
    size = (2.1 + 0.6 * frame.shape[1], 1.4 + 0.5 * len(frame))
    return single_heat_map(frame, size, scale, title=title, xlabel="class")


def class_heat_map(accuracy: pd.DataFrame, title: str) -> Figure:
    """Return the heat map of `History.per_class`: classes (rows) by rounds (columns)."""
    size, names = (max(5.0, 1.6 + 0.42 * len(accuracy)), 4.2), {"xlabel": "round", "ylabel": "class"}
    numbers = len(accuracy) <= MOST_NUMBERS
    return single_heat_map(100 * accuracy.T, size, PER_CENT, numbers=numbers, title=title, **names)


def confusion_matrix(counts: NDArray[np.int64], title: str, labels: list[str] | None = None) -> Figure:
    """Return the heat map of a confusion matrix, in per cent of each true class.

    Args:
        counts: Test samples (k, k): row = true class, column = predicted class.
        title: Title of the figure.
        labels: Label of each class. Default: its number.
    """
    shares = pd.DataFrame(
        100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), index=labels, columns=labels
    )
    names = {"xlabel": "predicted class", "ylabel": "true class", "title": title}
    numbers = len(shares) <= MOST_NUMBERS
    return single_heat_map(shares, (5.4, 4.8), PER_CENT, numbers=numbers, **names)


def save(figure: Figure, target: Path | IO[bytes]) -> None:
    """Write a figure to a path, whose ending (png, svg, pdf) is the format, or to a binary file as PNG.

    Dollar signs do not start a formula. If the font lacks a character, the figure shows a box, and the log
    contains one warning.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with mpl.rc_context({"svg.hashsalt": "fedpoison"}), warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", _LACKS)
        figure.savefig(target, dpi=150)
    lacking = set()
    for warning in caught:
        found = re.match(_LACKS, str(warning.message))
        if found:
            lacking.add(chr(int(found[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if lacking:
        _warn("".join(sorted(lacking)))


@cache
def _warn(lacking: str) -> None:
    _log.warning("figures: the font lacks %r; the figure shows boxes in their place.", lacking)

"""Plotting functions for data frames, readable in print and with colour blindness."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypedDict, Unpack

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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


def panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with `count` panels, three per row."""
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(1 + 3.2 * columns, 0.8 + 2.8 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    for spare in grid[count:]:
        spare.set_visible(False)
    return figure, list(grid[:count])


def lines(
    axes: Axes,
    frame: pd.DataFrame,
    *,
    x: str,
    y: str | int,
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
        colour = COLOURS[position % len(COLOURS)]
        axes.plot(
            across,
            found["mean"],
            label=str(name),
            color=colour,
            linestyle=STYLES[position % len(STYLES)],
            marker=MARKERS[position % len(MARKERS)],
            markevery=max(1, len(found) // 8),
            markersize=4,
        )
        if found["count"].gt(1).any():
            axes.fill_between(across, found["min"], found["max"], color=colour, alpha=0.15, lw=0)
    if places is not None and texts:
        axes.set_xticks(range(len(places)), [str(place) for place in places], rotation=30, ha="right")
    axes.grid(alpha=0.3)


def round_axis(axes: Axes, title: str) -> None:
    """Title a panel that shows per cent per round, and set its limits and ticks."""
    axes.set(title=title, xlabel="round", ylim=(0, 101))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def legend(figure: Figure, axes: Axes, columns: int = 4, title: str | None = None) -> None:
    """Draw the legend of a panel below its figure, in at most `columns` columns."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(columns, len(labels)),
        frameon=False,
        title=title,
    )


class Scale(TypedDict, total=False):
    """How a heat map shows its values."""

    low: float
    """Value of the first colour. Default: 0."""
    high: float
    """Value of the last colour. Default: 100."""
    colours: str
    """Colour map of matplotlib. Default: `SEQUENTIAL`."""
    unit: str
    """Label of the colour bar. Default: %."""


def heat_map(axes: Axes, frame: pd.DataFrame, *, numbers: bool = True, **scale: Unpack[Scale]) -> None:
    """Draw a frame as colours, with its index and its columns as ticks.

    Args:
        axes: Panel to draw on.
        frame: Values; NaN is an empty cell.
        numbers: Whether cells show their values.
        scale: See `Scale`.
    """
    values = frame.to_numpy(dtype=np.float64)
    low, high, colours = scale.get("low", 0), scale.get("high", 100), scale.get("colours", SEQUENTIAL)
    image = axes.imshow(values, vmin=low, vmax=high, cmap=colours, aspect="auto")
    axes.figure.colorbar(image, ax=axes, label=scale.get("unit", "%"), fraction=0.05, pad=0.02)
    names = [str(name) for name in frame.columns]
    whole = all(isinstance(name, int | np.integer) for name in frame.columns)
    step = max(1, len(names) // MOST_TICKS) if whole else 1
    axes.set_xticks(range(0, len(names), step), names[::step])
    if not whole:
        axes.tick_params(axis="x", labelrotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    axes.set_yticks(range(len(frame)), [str(name) for name in frame.index])
    for (row, column), value in np.ndenumerate(values if numbers else values[:0]):
        dark = not np.isnan(value) and np.dot(image.to_rgba(value)[:3], LUMINANCE) < DARK_CELL
        text = "-" if np.isnan(value) else f"{value:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")


def heat_maps(shares: Mapping[str, pd.DataFrame]) -> Figure:
    """Return a heat map per table of shares that has any, in per cent, side by side.

    Args:
        shares: Attacks (rows) by strategies (columns), by the name of the measure.
    """
    tables = {name: 100 * table for name, table in shares.items()}
    tables = {name: table for name, table in tables.items() if table.notna().any(axis=None)} or tables
    rows, columns = next(iter(tables.values())).shape
    width, height = 1.4 + 1.0 * columns, 1.6 + 0.55 * rows
    figure = Figure(figsize=(width * len(tables), height), layout="constrained")
    grid = np.atleast_1d(figure.subplots(1, len(tables), sharey=True))
    for axes, (name, table) in zip(grid, tables.items(), strict=True):
        heat_map(axes, table)
        axes.set_title(f"{name}, %")
    return figure


def strategy_heat_map(frame: pd.DataFrame, title: str, **scale: Unpack[Scale]) -> Figure:
    """Return the heat map of strategies (rows) by classes (columns)."""
    figure = Figure(figsize=(2.1 + 0.6 * frame.shape[1], 1.4 + 0.5 * len(frame)), layout="constrained")
    axes = figure.subplots()
    heat_map(axes, frame, **scale)
    axes.set(title=title, xlabel="class")
    return figure


def class_heat_map(accuracy: pd.DataFrame, title: str) -> Figure:
    """Return the heat map of the accuracy of each class (rows) after each round (columns).

    Args:
        accuracy: Shares, one row per round and one column per class, as `History.per_class`.
        title: Title of the figure.
    """
    figure = Figure(figsize=(max(5.0, 1.6 + 0.42 * len(accuracy)), 4.2), layout="constrained")
    axes = figure.subplots()
    heat_map(axes, 100 * accuracy.T, numbers=len(accuracy) <= MOST_NUMBERS)
    axes.set(xlabel="round", ylabel="class", title=title)
    return figure


def confusion_matrix(counts: NDArray[np.int64], title: str) -> Figure:
    """Return the heat map of a confusion matrix, in per cent of each true class.

    Args:
        counts: Test samples (k, k): row = true class, column = predicted class.
        title: Title of the figure.
    """
    shares = pd.DataFrame(100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    figure = Figure(figsize=(5.4, 4.8), layout="constrained")
    axes = figure.subplots()
    heat_map(axes, shares, numbers=len(shares) <= MOST_NUMBERS)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the ending of `path` (png, svg, pdf) chooses the format.

    Dollar signs do not start a formula. If the font lacks a character, the figure shows a box, and the log
    contains one warning.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with mpl.rc_context({"svg.hashsalt": "fedpoison"}), warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", _LACKS)
        figure.savefig(path, dpi=150)
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

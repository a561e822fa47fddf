"""Figures that read well in print and without colour vision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from fedpoison.breakdown_curves import Breakdown, Curve
from fedpoison.comparison import MEASURES, Comparison
from fedpoison.history import History

# Okabe and Ito's palette; with line styles and markers, lines also differ in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
RING: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none"}
CROSS: dict[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 2}
SEQUENTIAL = "cividis"
LUMINANCE = (0.2126, 0.7152, 0.0722)
DARK_CELL = 0.5
"""Brightness of a cell below which numbers are written in white."""


def accuracy_by_round(comparison: Comparison) -> Figure:
    """Return one panel an attack: accuracy after each round, one line a strategy, mean over the seeds.

    A strategy that had to stop with any seed has no line there, and is named in the panel.
    """
    figure, grid = panels(len(comparison.attacks))
    for axes, attack in zip(grid, comparison.attacks, strict=True):
        for position, strategy in enumerate(comparison.strategies):
            whole = not comparison.stops(attack, strategy)
            runs = comparison.runs(attack, strategy) if whole else []
            curves = pd.DataFrame([100 * history.rounds()["accuracy"] for history in runs])
            line(axes, curves.columns, curves.to_numpy().T, position, strategy)
        halted = [strategy for strategy in comparison.strategies if comparison.stops(attack, strategy)]
        if halted:
            axes.text(0.02, 0.02, f"stopped: {', '.join(halted)}", transform=axes.transAxes, fontsize=7)
        axes.set(title=attack, xlabel="round", ylim=(0, 101))
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[0].set_ylabel("accuracy, %")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    return figure


def class_heat_map(history: History) -> Figure:
    """Return the accuracy of every class (rows) after every round (columns)."""
    frame = 100 * history.per_class()
    figure = Figure(figsize=(max(5.0, 1.6 + 0.42 * len(frame)), 4.2), layout="constrained")
    axes = figure.subplots()
    heat(axes, frame.T.to_numpy(), low=0, high=100, numbers=len(frame) <= 16)
    axes.set(xlabel="round", ylabel="class", title=title(history))
    axes.set_yticks(range(frame.shape[1]), [str(label) for label in frame.columns])
    step = max(1, len(frame) // 15)
    axes.set_xticks(range(0, len(frame), step), [str(number) for number in frame.index[::step]])
    return figure


def confusion_matrix(history: History) -> Figure:
    """Return the confusion matrix of the final model, in per cent of each true class."""
    counts = history.last.counts
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(5.4, 4.8), layout="constrained")
    axes = figure.subplots()
    heat(axes, shares, low=0, high=100, numbers=len(shares) <= 16)
    axes.set(xlabel="predicted class", ylabel="true class", title=title(history))
    axes.set_xticks(range(len(shares)))
    axes.set_yticks(range(len(shares)))
    return figure


def attack_by_strategy(comparison: Comparison) -> Figure:
    """Return one heat map a measure: attacks (rows) by strategies (columns), after the last round."""
    return matrices({name: comparison.table(measure) for name, measure in MEASURES.items()})


def matrices(shares: Mapping[str, pd.DataFrame]) -> Figure:
    """Return one heat map for each table of shares that has any, in per cent, side by side."""
    tables = {name: 100 * table for name, table in shares.items()}
    tables = {name: table for name, table in tables.items() if table.notna().any(axis=None)} or tables
    rows, columns = next(iter(tables.values())).shape
    width, height = 1.4 + 1.0 * columns, 1.6 + 0.55 * rows
    figure = Figure(figsize=(width * len(tables), height), layout="constrained")
    grid = np.atleast_1d(figure.subplots(1, len(tables), sharey=True))
    for axes, (name, table) in zip(grid, tables.items(), strict=True):
        heat(axes, table.to_numpy(), low=0, high=100, numbers=True)
        axes.set_title(f"{name}, %")
        axes.set_xticks(range(table.shape[1]), list(table.columns), rotation=30, ha="right")
        axes.set_yticks(range(table.shape[0]), list(table.index))
    return figure


def class_by_strategy(comparison: Comparison, attack: str) -> Figure:
    """Return the final accuracy of every class (columns) under each strategy (rows), for one attack."""
    frame = 100 * comparison.classes(attack)
    figure = Figure(figsize=(1.8 + 0.6 * frame.shape[1], 1.4 + 0.5 * len(frame)), layout="constrained")
    axes = figure.subplots()
    heat(axes, frame.to_numpy(), low=0, high=100, numbers=True)
    axes.set(title=f"{attack}: accuracy by class, %", xlabel="class")
    axes.set_xticks(range(frame.shape[1]), [str(label) for label in frame.columns])
    axes.set_yticks(range(len(frame)), list(frame.index))
    return figure


def breakdown_curves(found: Breakdown) -> Figure:
    """Return one panel an attack: what each malicious share costs, one line a strategy, mean over the seeds.

    A ring marks the share that breaks a strategy, at the upper edge where the server has to stop; a cross
    there is the first share for which the strategy is not defined.
    """
    figure, grid = panels(len(found.attacks))
    strategies = list(dict.fromkeys(curve.pair.strategy for curve in found.curves))
    for axes, attack in zip(grid, found.attacks, strict=True):
        curves = [curve for curve in found.curves if curve.pair.attack == attack]
        for curve in curves:
            _cost(axes, curve, found.clients, strategies.index(curve.pair.strategy))
        _undefined(axes, curves, found.clients, strategies)
        axes.axhline(100 * found.judge.limit, color="0.35", linewidth=1, zorder=1)
        axes.set_title(attack, pad=10)
        axes.set_xlabel("malicious share, %")
        axes.grid(alpha=0.3)
    grid[0].set_ylabel(found.judge.axis)
    handles, labels = grid[0].get_legend_handles_labels()
    handles += [
        Line2D([], [], color="0.35", linewidth=1),
        Line2D([], [], color="0.35", linestyle="", **RING),
        Line2D([], [], color="0.35", linestyle="", **CROSS),
    ]
    labels += ["limit", "breaks", "undefined from here"]
    columns = 2 if len(grid) == 1 else 4
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _cost(axes: Axes, curve: Curve, clients: int, position: int) -> None:
    shares = [100 * point.count / clients for point in curve.points]
    costs = np.array([point.costs for point in curve.points])  # NaN, a gap, where a run had to stop
    line(axes, shares, 100 * costs, position, curve.pair.strategy)
    if curve.breaks is None:
        return
    colour, share = COLOURS[position % len(COLOURS)], 100 * curve.breaks.count / clients
    if curve.breaks.stopped is None:
        axes.plot(share, 100 * np.mean(curve.breaks.costs), color=colour, **RING)
    else:
        axes.plot(share, 1.0, color=colour, transform=axes.get_xaxis_transform(), clip_on=False, **RING)


def _undefined(axes: Axes, curves: Sequence[Curve], clients: int, strategies: Sequence[str]) -> None:
    """Draw the crosses, those at the same share below each other."""
    drawn: Counter[int] = Counter()
    for curve in curves:
        if curve.undefined is not None:
            axes.plot(
                100 * curve.undefined / clients,
                1 - 0.06 * drawn[curve.undefined],
                transform=axes.get_xaxis_transform(),
                color=COLOURS[strategies.index(curve.pair.strategy) % len(COLOURS)],
                clip_on=False,
                zorder=3,
                **CROSS,
            )
            drawn[curve.undefined] += 1


def panels(count: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with so many panels, three in a row."""
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(1 + 3.2 * columns, 0.8 + 2.8 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    for spare in grid[count:]:
        spare.set_visible(False)
    return figure, list(grid[:count])


def line(axes: Axes, places: ArrayLike, values: Iterable[ArrayLike], position: int, label: str) -> None:
    """Draw what runs have at each place: the mean, and the band from the lowest to the highest.

    Args:
        axes: to draw on.
        places: where they lie along the axis x.
        values: for each place what one or more runs have there.
        position: chooses the style.
        label: for the legend.
    """
    places, there = np.asarray(places), [np.asarray(found) for found in values]
    colour = COLOURS[position % len(COLOURS)]
    axes.plot(
        places,
        [found.mean() for found in there],
        label=label,
        color=colour,
        linestyle=STYLES[position % len(STYLES)],
        marker=MARKERS[position % len(MARKERS)],
        markevery=max(1, len(places) // 8),
        markersize=4,
    )
    if any(len(found) > 1 for found in there):
        low, high = [found.min() for found in there], [found.max() for found in there]
        axes.fill_between(places, low, high, color=colour, alpha=0.15, lw=0)


def heat(
    axes: Axes,
    values: ArrayLike,
    *,
    low: float,
    high: float,
    numbers: bool,
    colours: str = SEQUENTIAL,
    unit: str = "%",
) -> None:
    """Draw values (rows, columns) as colours between `low` and `high`, and as numbers where asked."""
    values = np.asarray(values)
    image = axes.imshow(values, vmin=low, vmax=high, cmap=colours, aspect="auto")
    axes.figure.colorbar(image, ax=axes, label=unit, fraction=0.05, pad=0.02)
    if not numbers:
        return
    for (row, column), value in np.ndenumerate(values):
        dark = not np.isnan(value) and np.dot(image.to_rgba(value)[:3], LUMINANCE) < DARK_CELL
        text = "-" if np.isnan(value) else f"{value:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")


def title(history: History) -> str:
    """Return what a run was: a strategy, an attack, a data set."""
    scenario = history.scenario
    return f"{scenario.strategy} under {scenario.threat} ({scenario.dataset})"

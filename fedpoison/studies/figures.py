"""Figures of comparisons, breakdowns and studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedpoison.errors import ScenarioError
from fedpoison.plotting import (
    COLOURS,
    heat_map,
    heat_maps,
    legend,
    lines,
    panels,
    round_axis,
    save,
    strategy_heat_map,
)
from fedpoison.results.run_frame import MEASURES, cross_table
from fedpoison.studies.axes import Label
from fedpoison.studies.breakdown_result import Breakdown, Curve
from fedpoison.studies.comparison import Comparison
from fedpoison.studies.study import AXIS_TITLES, Study, StudyFigure

HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
RING: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none"}
CROSS: dict[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 2}
Labels = dict[str, list[Label]]
"""Labels of each axis of a study, in the order of the study."""


def accuracy_by_round(comparison: Comparison) -> Figure:
    """Return a panel per attack: accuracy after each round, one line per strategy, mean over the seeds.

    A strategy that stopped with any seed has no line, and the panel names it.
    """
    figure, grid = panels(len(comparison.attacks))
    for axes, attack in zip(grid, comparison.attacks, strict=True):
        stopped = [
            strategy for strategy in comparison.strategies if comparison.stopped_seeds(attack, strategy)
        ]
        rows = [
            (strategy, record.round, 100 * record.accuracy)
            for strategy in comparison.strategies
            if strategy not in stopped
            for history in comparison.runs(attack, strategy)
            for record in history.records
        ]
        frame = pd.DataFrame(rows, columns=["strategy", "round", "accuracy"])
        lines(axes, frame, x="round", y="accuracy", series="strategy", names=comparison.strategies)
        if stopped:
            axes.text(0.02, 0.02, f"stopped: {', '.join(stopped)}", transform=axes.transAxes, fontsize=7)
        round_axis(axes, attack)
    grid[0].set_ylabel("accuracy, %")
    legend(figure, grid[0])
    return figure


def attack_by_strategy(comparison: Comparison) -> Figure:
    """Return a heat map per measure: attacks (rows) by strategies (columns)."""
    return heat_maps({name: comparison.table(measure) for name, measure in MEASURES.items()})


def class_by_strategy(comparison: Comparison, attack: str) -> Figure:
    """Return the heat map of strategies (rows) by classes (columns) for one attack: final accuracy."""
    return strategy_heat_map(100 * comparison.classes(attack), f"{attack}: accuracy by class, %")


def breakdown_curves(found: Breakdown) -> Figure:
    """Return a panel per attack: cost of each malicious share, one line per strategy, mean over the seeds.

    A ring marks the share that breaks a strategy, at the upper edge if the strategy stops. A cross at the
    upper edge marks the first share for which the strategy is undefined.
    """
    figure, grid = panels(len(found.attacks))
    strategies = list(dict.fromkeys(curve.pair.strategy for curve in found.curves))
    points = found.points()
    points["share"] *= 100
    points["cost"] = 100 * points["cost"].where(points["stopped"].isna())  # one stopped seed leaves a gap
    for axes, attack in zip(grid, found.attacks, strict=True):
        mine = points[points["attack"] == attack]
        lines(axes, mine, x="share", y="cost", series="strategy", names=strategies)
        _mark(axes, [curve for curve in found.curves if curve.pair.attack == attack], found, strategies)
        axes.axhline(100 * found.criterion.limit, color="0.35", linewidth=1, zorder=1)
        axes.set_title(attack, pad=10)
        axes.set_xlabel("malicious share, %")
    grid[0].set_ylabel(found.criterion.axis_title)
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


def _mark(axes: Axes, curves: Sequence[Curve], found: Breakdown, strategies: Sequence[str]) -> None:
    """Draw the rings and the crosses; crosses at the same share are below each other."""
    edge: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
    drawn: Counter[int] = Counter()
    for curve in curves:
        colour = COLOURS[strategies.index(curve.pair.strategy) % len(COLOURS)]
        if curve.breaking_point is not None:
            broken = curve.breaking_point
            share = 100 * broken.count / found.clients
            height, options = (100 * np.mean(broken.costs), {}) if broken.stopped is None else (1.0, edge)
            axes.plot(share, height, color=colour, **RING, **options)
        if curve.undefined is not None:
            share, height = 100 * curve.undefined / found.clients, 1 - 0.06 * drawn[curve.undefined]
            axes.plot(share, height, color=colour, zorder=3, **CROSS, **edge)
            drawn[curve.undefined] += 1


def draw(study: Study, runs: pd.DataFrame) -> Figure:
    """Return the figure of a study: a panel per facet and measure, with means and ranges over the seeds.

    Args:
        study: Has a figure, and the order of the labels on its axes.
        runs: One row per run, as `StudyResults.runs`. A combination without a run leaves a gap.

    Raises:
        ScenarioError: The study has no figure.
    """
    if study.figure is None:
        raise ScenarioError(f"{study.name}: has no figure; add a table [figure] with kind, x and series.")
    asked = study.figure
    labels = {
        axis: [level.label for level in axis_values] for axis, axis_values in study.axis_values().items()
    }
    facets: list[Label | None] = [None] if asked.facet is None else [*labels[asked.facet]]
    figure, grid = _panels(asked, labels, len(facets))
    panel = {"lines": _lines, "bars": _bars, "heatmap": _heat_map}[asked.kind]
    for (row, measure), (column, facet) in product(enumerate(asked.measure), enumerate(facets)):
        axes = grid[row][column]
        shown = runs if facet is None else runs[runs[str(asked.facet)] == facet]
        values = shown.assign(**{measure: 100 * shown[measure]})
        panel(axes, values, asked, measure, labels)
        _name(axes, asked, measure, facet, outer=(row == len(asked.measure) - 1, column == 0))
    if asked.kind != "heatmap":
        names = [str(label) for label in labels[asked.series]]
        legend(figure, grid[0][0], _columns(figure.get_figwidth(), names), _words(asked.series))
    return figure


def write_figure(study: Study, runs: pd.DataFrame, folder: Path) -> None:
    """Write the figure of a study into a folder, for the screen and for print."""
    figure = draw(study, runs)
    for ending in ("png", "svg", "pdf"):
        save(figure, folder / f"figure.{ending}")


def _panels(asked: StudyFigure, labels: Labels, facets: int) -> tuple[Figure, Sequence[Sequence[Axes]]]:
    across, down = len(labels[asked.x]), len(labels[asked.series])
    width, height = {
        "lines": (3.2, 2.7),
        "bars": (max(3.2, 0.7 + 0.16 * across * (down + 1)), 2.7),
        "heatmap": (1.4 + 0.55 * across, 0.9 + 0.36 * down),
    }[asked.kind]
    rows = len(asked.measure)
    margin = max(len(str(label)) for label in labels[asked.series]) * 0.07 if asked.kind == "heatmap" else 0.6
    across_all = max(5.0, margin + width * facets)
    names = [str(label) for label in labels[asked.series]]
    room = 0.0 if asked.kind == "heatmap" else 0.5 + 0.2 * -(-down // _columns(across_all, names))
    figure = Figure(figsize=(across_all, room + height * rows), layout="constrained")
    grid = figure.subplots(rows, facets, sharex=True, sharey=True, squeeze=False)
    return figure, grid.tolist()


def _columns(width: float, names: Sequence[str]) -> int:
    """Return how many names of a legend fit side by side in a figure of `width` inches."""
    return max(1, min(len(names), int(width / (0.6 + 0.075 * max(map(len, names))))))


def _lines(axes: Axes, values: pd.DataFrame, asked: StudyFigure, measure: str, labels: Labels) -> None:
    names, places = labels[asked.series], labels[asked.x]
    lines(axes, values, x=asked.x, y=measure, series=asked.series, names=names, places=places)
    axes.set_ylim(0, 101)


def _bars(axes: Axes, values: pd.DataFrame, asked: StudyFigure, measure: str, labels: Labels) -> None:
    series, xs = labels[asked.series], labels[asked.x]
    width = 0.8 / len(series)
    groups = values.dropna(subset=measure).groupby([asked.series, asked.x])[measure]
    table = groups.agg(["mean", "min", "max"])
    for position, name in enumerate(series):
        drawn = table.reindex(pd.MultiIndex.from_product([[name], xs]))
        axes.bar(
            [place + (position + 0.5) * width - 0.4 for place in range(len(xs))],
            drawn["mean"],
            width,
            yerr=np.abs([drawn["mean"] - drawn["min"], drawn["max"] - drawn["mean"]]),  # never -1e-17
            label=str(name),
            color=COLOURS[position % len(COLOURS)],
            hatch=HATCHES[position % len(HATCHES)],
            edgecolor="white",
            error_kw={"elinewidth": 0.8},
        )
    axes.set_xticks(range(len(xs)), [str(x) for x in xs], rotation=20, ha="right")
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    axes.set_ylim(0, 101)


def _heat_map(axes: Axes, values: pd.DataFrame, asked: StudyFigure, measure: str, labels: Labels) -> None:
    means = cross_table(values, measure, asked.series, asked.x)
    heat_map(axes, means.reindex(index=labels[asked.series], columns=labels[asked.x]))


def _name(
    axes: Axes, asked: StudyFigure, measure: str, facet: Label | None, *, outer: tuple[bool, bool]
) -> None:
    """Title a panel and its axes; `outer` is whether it is in the last row, and in the first column."""
    label = (
        "" if facet is None else str(facet) if isinstance(facet, str) else f"{_words(asked.facet)} {facet}"
    )
    if asked.kind == "heatmap":
        axes.set_title(", ".join(part for part in (label, AXIS_TITLES[measure]) if part), fontsize=10)
    else:
        axes.set_title(label, fontsize=10)
        if outer[1]:
            axes.set_ylabel(AXIS_TITLES[measure])
    if outer[0] and asked.kind == "lines":
        axes.set_xlabel(_words(asked.x))


def _words(axis: str | None) -> str:
    return str(axis).replace("_", " ")

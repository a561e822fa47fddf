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

from fedpoison import plotting
from fedpoison.errors import ScenarioError
from fedpoison.plotting import (
    heat_map,
    heat_maps,
    legend,
    lines,
    new_figure,
    panels,
    save,
    strategy_heat_map,
    style,
)
from fedpoison.results.run_frame import MEASURES, cross_table
from fedpoison.studies.axes import AXIS_TITLES, Label, StudyFigure
from fedpoison.studies.breakdown_result import Breakdown, Curve
from fedpoison.studies.comparison import Comparison
from fedpoison.studies.study import Study

HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
RING: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none"}
CROSS: dict[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 2}
Labels = list[Label]


def accuracy_by_round(comparison: Comparison) -> Figure:
    """Return a panel per attack: accuracy after each round, one line per strategy, mean over the seeds.

    A strategy that stopped with any seed has no line, and the panel names it.
    """
    stopped = {(cell.attack, cell.strategy): cell.strategy for cell in comparison.stopped}
    rows = [
        (cell.attack, cell.strategy, record.round, 100 * record.accuracy)
        for cell in comparison.cells()
        if (cell.attack, cell.strategy) not in stopped
        for record in comparison.histories[cell].records
    ]
    frame = pd.DataFrame(rows, columns=["attack", "strategy", "round", "accuracy"])
    titles = {attack: attack for attack in comparison.attacks}
    figure, grid = plotting.accuracy_by_round(frame, "attack", titles, comparison.strategies)
    for axes, attack in zip(grid, comparison.attacks, strict=True):
        names = [strategy for strategy in comparison.strategies if (attack, strategy) in stopped]
        if names:
            axes.text(0.02, 0.02, f"stopped: {', '.join(names)}", transform=axes.transAxes, fontsize=7)
    grid[0].set_ylabel("accuracy, %")
    return figure


def attack_by_strategy(comparison: Comparison) -> Figure:
    """Return a heat map per measure: attacks (rows) by strategies (columns)."""
    return heat_maps({name: comparison.table(measure) for name, measure in MEASURES.items()})


def class_by_strategy(comparison: Comparison, attack: str) -> Figure:
    """Return the heat map of strategies (rows) by classes (columns) for one attack: final accuracy."""
    classes = comparison.classes(attack).set_axis(comparison.class_labels, axis=1)
    return strategy_heat_map(100 * classes, f"{attack}: accuracy by class, %")


def breakdown_curves(found: Breakdown) -> Figure:
    """Return a panel per attack: cost of each malicious share, one line per strategy, mean over the seeds.

    A ring marks the share that breaks a strategy, at the upper edge if the strategy stops. A cross at the
    upper edge marks the first share for which the strategy is undefined.
    """
    figure, grid = panels(len(found.attacks))
    strategies = list(dict.fromkeys(curve.pair.strategy for curve in found.curves))
    points = found.to_frame()
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
    marks = {"limit": {"linewidth": 1}, "breaks": {"linestyle": "", **RING}}
    marks["undefined from here"] = {"linestyle": "", **CROSS}
    handles += [Line2D([], [], color="0.35", **look) for look in marks.values()]
    labels, columns = [*labels, *marks], 2 if len(grid) == 1 else 4
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _mark(axes: Axes, curves: Sequence[Curve], found: Breakdown, strategies: Sequence[str]) -> None:
    """Draw the rings and the crosses; crosses at the same share are below each other."""
    edge: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
    drawn: Counter[int] = Counter()
    for curve in curves:
        colour = style(strategies.index(curve.pair.strategy))["color"]
        broken = curve.breaking_point
        if broken is not None:
            height, options = (100 * np.mean(broken.costs), {}) if broken.stopped is None else (1.0, edge)
            axes.plot(100 * broken.count / found.clients, height, color=colour, **RING, **options)
        if curve.undefined is not None:
            share, height = 100 * curve.undefined / found.clients, 1 - 0.06 * drawn[curve.undefined]
            axes.plot(share, height, color=colour, zorder=3, **CROSS, **edge)
            drawn[curve.undefined] += 1


def strength_by_attack(trials: pd.DataFrame) -> Figure:
    """Return a bar per attack: its greatest strength in the search.

    Args:
        trials: One row per trial: `attack` (a spec) and `strength`, as `SearchResult.to_frame`.
    """
    names = trials["attack"].str.partition("(")[0]
    strengths = trials["strength"].groupby(names).max().sort_values()
    figure = new_figure(6.0, 1.2 + 0.3 * len(strengths))
    axes = figure.subplots()
    axes.barh(list(strengths.index), strengths.to_numpy())
    axes.set_xlabel("strength of the attack (1 minus the accuracy, or success)")
    return figure


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
    asked, values = study.figure, study.axis_values()
    labels = {axis: [level.label for level in steps] for axis, steps in values.items()}
    series, xs = labels[asked.series], labels[asked.x]
    facets: list[Label | None] = [None] if asked.facet is None else [*labels[asked.facet]]
    figure, grid = _panels(asked, series, len(xs), len(facets))
    panel = {"lines": _lines, "bars": _bars, "heatmap": _heat_map}[asked.kind]
    for (row, measure), (column, facet) in product(enumerate(asked.measure), enumerate(facets)):
        axes = grid[row][column]
        shown = runs if facet is None else runs[runs[str(asked.facet)] == facet]
        columns = {"x": shown[asked.x], "series": shown[asked.series], "y": 100 * shown[measure]}
        panel(axes, pd.DataFrame(columns), series, xs)
        title = "" if facet is None else facet if isinstance(facet, str) else f"{_words(asked.facet)} {facet}"
        if asked.kind == "heatmap":
            title = ", ".join(part for part in (title, AXIS_TITLES[measure]) if part)
        elif column == 0:
            axes.set_ylabel(AXIS_TITLES[measure])
        axes.set_title(title, fontsize=10)
        if asked.kind == "lines" and row == len(asked.measure) - 1:
            axes.set_xlabel(_words(asked.x))
    if asked.kind != "heatmap":
        legend(figure, grid[0][0], _columns(figure.get_figwidth(), series), _words(asked.series))
    return figure


def write_figure(study: Study, runs: pd.DataFrame, folder: Path) -> None:
    """Write the figure of a study into a folder, for the screen and for print."""
    figure = draw(study, runs)
    for ending in ("png", "svg", "pdf"):
        save(figure, folder / f"figure.{ending}")


def _panels(
    asked: StudyFigure, series: Labels, across: int, facets: int
) -> tuple[Figure, Sequence[Sequence[Axes]]]:
    """Return a row of panels per measure, as wide as its values, its bars or its columns need."""
    heat = asked.kind == "heatmap"
    width, height = {
        "lines": (3.2, 2.7),
        "bars": (max(3.2, 0.7 + 0.16 * across * (len(series) + 1)), 2.7),
        "heatmap": (1.4 + 0.55 * across, 0.9 + 0.36 * len(series)),
    }[asked.kind]
    margin = max(len(str(label)) for label in series) * 0.07 if heat else 0.6
    total = max(5.0, margin + width * facets)
    room = 0.0 if heat else 0.5 + 0.2 * -(-len(series) // _columns(total, series))
    figure = new_figure(total, room + height * len(asked.measure))
    grid = figure.subplots(len(asked.measure), facets, sharex=True, sharey=True, squeeze=False)
    return figure, grid.tolist()


def _columns(width: float, names: Labels) -> int:
    """Return how many names of a legend fit side by side in a figure of `width` inches."""
    longest = max(len(str(name)) for name in names)
    return max(1, min(len(names), int(width / (0.6 + 0.075 * longest))))


def _lines(axes: Axes, values: pd.DataFrame, series: Labels, xs: Labels) -> None:
    lines(axes, values, x="x", y="y", series="series", names=series, places=xs)
    axes.set_ylim(0, 101)


def _bars(axes: Axes, values: pd.DataFrame, series: Labels, xs: Labels) -> None:
    width = 0.8 / len(series)
    groups = values.dropna(subset="y").groupby(["series", "x"])["y"]
    table = groups.agg(["mean", "min", "max"])
    for position, name in enumerate(series):
        drawn = table.reindex(pd.MultiIndex.from_product([[name], xs]))
        axes.bar(
            [place + (position + 0.5) * width - 0.4 for place in range(len(xs))],
            drawn["mean"],
            width,
            yerr=np.abs([drawn["mean"] - drawn["min"], drawn["max"] - drawn["mean"]]),  # never -1e-17
            label=str(name),
            color=style(position)["color"],
            hatch=HATCHES[position % len(HATCHES)],
            edgecolor="white",
            error_kw={"elinewidth": 0.8},
        )
    axes.set_xticks(range(len(xs)), [str(x) for x in xs], rotation=20, ha="right")
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    axes.set_ylim(0, 101)


def _heat_map(axes: Axes, values: pd.DataFrame, series: Labels, xs: Labels) -> None:
    heat_map(axes, cross_table(values, "y", "series", "x").reindex(index=series, columns=xs))


def _words(axis: str | None) -> str:
    return str(axis).replace("_", " ")

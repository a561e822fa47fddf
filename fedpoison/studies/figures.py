"""Figures of comparisons, breakdowns and searches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedpoison import plotting
from fedpoison.plotting import heat_maps, lines, mark_legend, new_figure, panels, strategy_heat_map, style
from fedpoison.results.defects import LOST, MARKS, NO_RESULT, used_marks
from fedpoison.results.run_frame import MEASURES, run_marks
from fedpoison.studies.breakdown_result import Breakdown, Curve
from fedpoison.studies.comparison import Comparison

RING: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none"}
CROSS: dict[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 2}


def accuracy_by_round(comparison: Comparison) -> Figure:
    """Return a panel per attack: accuracy after each round, one line per strategy, mean over the seeds.

    A strategy that stopped or is no result with any seed has no line. The panel names it, and the strategies
    some of whose replies, rounds or attacks had no effect.
    """
    stopped = {(cell.attack, cell.strategy) for cell in comparison.stopped}
    marks = comparison.marks()
    rows = [
        (cell.attack, cell.strategy, record.round, 100 * record.accuracy)
        for cell in comparison.cells()
        if (cell.attack, cell.strategy) not in stopped
        if marks.loc[cell.attack, cell.strategy] != NO_RESULT
        for record in comparison.histories[cell].records
    ]
    frame = pd.DataFrame(rows, columns=["attack", "strategy", "round", "accuracy"])
    titles = {attack: attack for attack in comparison.attacks}
    figure, grid = plotting.accuracy_by_round(frame, "attack", titles, comparison.strategies)
    for axes, attack in zip(grid, comparison.attacks, strict=True):
        names = comparison.strategies
        named = {"stopped": [name for name in names if (attack, name) in stopped]}
        for mark, meaning in MARKS.items():
            named[meaning] = [name for name in names if marks.loc[attack, name] == mark]
        _write_names(axes, named, "bottom")
    grid[0].set_ylabel("accuracy, %")
    return figure


def _write_names(axes: Axes, named: Mapping[str, Sequence[str]], side: Literal["top", "bottom"]) -> None:
    """Write the strategies of each kind into the left corner of a panel, at the top or the bottom."""
    texts = [f"{kind}: {', '.join(strategies)}" for kind, strategies in named.items() if strategies]
    if texts:
        height = 0.98 if side == "top" else 0.02
        ground = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
        text = "\n".join(texts)
        axes.text(0.02, height, text, transform=axes.transAxes, fontsize=7, va=side, bbox=ground)


def attack_by_strategy(comparison: Comparison) -> Figure:
    """Return a heat map per measure: attacks (rows) by strategies (columns).

    A mark replaces a value that is no result. A mark follows a value if replies or rounds were lost.
    """
    marks = comparison.marks()
    results = marks != NO_RESULT
    tables = {name: comparison.table(measure).where(results) for name, measure in MEASURES.items()}
    figure = heat_maps(tables, marks)
    mark_legend(figure, used_marks(marks.to_numpy().ravel()))
    return figure


def class_by_strategy(comparison: Comparison, attack: str) -> Figure:
    """Return the heat map of strategies (rows) by classes (columns) for one attack: final accuracy.

    A mark behind the name of a strategy shows that it is no result, or has other defects.
    """
    marks = comparison.marks().T[attack]
    shown = comparison.classes(attack).set_axis(comparison.class_labels, axis=1)
    shown[marks[shown.index] == NO_RESULT] = np.nan
    shown.index = pd.Index([f"{strategy} {marks[strategy]}".rstrip() for strategy in shown.index])
    figure = strategy_heat_map(100 * shown, f"{attack}: accuracy by class, %")
    mark_legend(figure, used_marks(marks.tolist()))
    return figure


def breakdown_curves(found: Breakdown) -> Figure:
    """Return a panel per attack: cost of each malicious share, one line per strategy, mean over the seeds.

    A ring marks the share that breaks a strategy, at the upper edge if the strategy stops. A cross at the
    upper edge marks the first share for which the strategy is undefined. A curve that is no result has no
    line. The panel names it, and the strategies some of whose replies, rounds or attacks had no effect.
    """
    figure, grid = panels(len(found.attacks))
    strategies = list(dict.fromkeys(curve.pair.strategy for curve in found.curves))
    points = found.to_frame()
    points["share"] *= 100
    whole = points["stopped"].isna() & (points["no_result"] == "")  # one stopped seed leaves a gap
    points["cost"] = 100 * points["cost"].where(whole)
    for axes, attack in zip(grid, found.attacks, strict=True):
        mine = points[points["attack"] == attack]
        lines(axes, mine, x="share", y="cost", series="strategy", names=strategies)
        curves = [curve for curve in found.curves if curve.pair.attack == attack]
        _mark(axes, curves, found, strategies)
        without = [curve.pair.strategy for curve in curves if curve.no_result is not None]
        lost = [curve.pair.strategy for curve in curves if curve.no_result is None and curve.defects.notes]
        _write_names(axes, {MARKS[NO_RESULT]: without, MARKS[LOST]: lost}, "top")
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

    A mark behind the name shows that the strongest trial has defects. An attack without a result has no bar.

    Args:
        trials: One row per trial, as `SearchResult.to_frame`.
    """
    named = trials.assign(name=trials["attack"].str.partition("(")[0], mark=run_marks(trials))
    named["strength"] = named["strength"].where(named["mark"] != NO_RESULT)
    best = named.sort_values("strength", na_position="first").drop_duplicates("name", keep="last")
    labels = [f"{name} {mark}".rstrip() for name, mark in zip(best["name"], best["mark"], strict=True)]
    strengths = best["strength"].set_axis(labels)
    figure = new_figure(6.0, 1.2 + 0.3 * len(strengths))
    axes = figure.subplots()
    axes.barh(list(strengths.index), strengths.to_numpy())
    axes.set_xlabel("strength of the attack (1 minus the accuracy, or success)")
    mark_legend(figure, used_marks(best["mark"]))
    return figure


def score_by_setting(settings: pd.DataFrame, measure: str) -> Figure:
    """Return a bar per setting of a strategy: its score under the worst attack, on the validation set.

    Args:
        settings: One row per setting, as `Tuning.to_frame`. A stopped setting has no bar.
        measure: Name of the measure, for the axis.
    """
    figure = new_figure(7.0, 1.2 + 0.3 * len(settings))
    axes = figure.subplots()
    axes.barh(settings["strategy"].tolist()[::-1], 100 * settings["score"].to_numpy()[::-1])
    axes.set_xlabel(f"{measure.replace('_', ' ')} under the worst attack, validation set, %")
    return figure

"""The figure of a study: a panel for each facet and measure, with means and ranges over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedpoison.axes import Label
from fedpoison.errors import ScenarioError
from fedpoison.figure_files import save
from fedpoison.figures import COLOURS, heat, line
from fedpoison.study import Study
from fedpoison.study_figure import MEASURES, StudyFigure

HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")


def draw(study: Study, runs: pd.DataFrame) -> Figure:
    """Return the figure that a study asks for.

    Args:
        study: has a figure; the order on its axes is that of the drawing.
        runs: one row a run, as `Results.runs`; combinations without a run leave a gap.

    Raises:
        ScenarioError: the study asks for no figure.
    """
    if study.figure is None:
        raise ScenarioError(f"{study.name}: has no figure; add a table [figure] with kind, x and series.")
    asked = study.figure
    labels = {axis: [level.label for level in levels] for axis, levels in study.levels().items()}
    facets: list[Label | None] = [None] if asked.facet is None else [*labels[asked.facet]]
    figure, grid = _panels(asked, labels, len(facets))
    panel = {"lines": _lines, "bars": _bars, "heatmap": _heat_map}[asked.kind]
    for (row, measure), (column, facet) in product(enumerate(asked.measure), enumerate(facets)):
        axes = grid[row][column]
        shown = runs if facet is None else runs[runs[str(asked.facet)] == facet]
        panel(axes, _seeds(shown, asked, measure), labels[asked.x], labels[asked.series])
        _name(axes, asked, measure, facet, outer=(row == len(asked.measure) - 1, column == 0))
    if asked.kind != "heatmap":
        handles, names = grid[0][0].get_legend_handles_labels()
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=_columns(figure.get_figwidth(), names),
            frameon=False,
            title=_spoken(asked.series),
        )
    return figure


def write_figure(study: Study, runs: pd.DataFrame, folder: Path) -> None:
    """Write the figure that a study asks for into a folder, for the screen and for print."""
    figure = draw(study, runs)
    for ending in ("png", "svg", "pdf"):
        save(figure, folder / f"figure.{ending}")


Values = Callable[[Label, Label], Sequence[float]]
"""Gives what the seeds have, in per cent, at a place on the axes x and series: nothing without a run."""


def _seeds(runs: pd.DataFrame, asked: StudyFigure, measure: str) -> Values:
    found = {
        key: (100 * group.dropna()).tolist() for key, group in runs.groupby([asked.x, asked.series])[measure]
    }
    return lambda x, series: found.get((x, series), [])


def _panels(
    asked: StudyFigure, labels: dict[str, list[Label]], facets: int
) -> tuple[Figure, Sequence[Sequence[Axes]]]:
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
    legend = 0.0 if asked.kind == "heatmap" else 0.5 + 0.2 * -(-down // _columns(across_all, names))
    figure = Figure(figsize=(across_all, legend + height * rows), layout="constrained")
    grid = figure.subplots(rows, facets, sharex=True, sharey=True, squeeze=False)
    return figure, grid.tolist()


def _columns(width: float, names: Sequence[str]) -> int:
    """Return how many names of a legend have room side by side in a figure of so many inches."""
    return max(1, min(len(names), int(width / (0.6 + 0.075 * max(map(len, names))))))


def _lines(axes: Axes, values: Values, xs: Sequence[Label], series: Sequence[Label]) -> None:
    places, ticks = _places(xs)
    for position, name in enumerate(series):
        line(axes, places, [values(x, name) or [np.nan] for x in xs], position, str(name))
    if ticks:
        axes.set_xticks(places, ticks, rotation=30, ha="right")
    axes.grid(alpha=0.3)
    axes.set_ylim(0, 101)


def _bars(axes: Axes, values: Values, xs: Sequence[Label], series: Sequence[Label]) -> None:
    width = 0.8 / len(series)
    for position, name in enumerate(series):
        seen = [(place, values(x, name)) for place, x in enumerate(xs)]
        drawn = [(place, seeds) for place, seeds in seen if seeds]
        means = np.array([np.mean(seeds) for _, seeds in drawn])
        lowest = np.array([min(seeds) for _, seeds in drawn])
        highest = np.array([max(seeds) for _, seeds in drawn])
        axes.bar(
            [place + (position + 0.5) * width - 0.4 for place, _ in drawn],
            means,
            width,
            yerr=np.array([means - lowest, highest - means]),
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


def _heat_map(axes: Axes, values: Values, xs: Sequence[Label], series: Sequence[Label]) -> None:
    means = [[float(np.mean(values(x, name) or [np.nan])) for x in xs] for name in series]
    heat(axes, means, low=0, high=100, numbers=True)
    axes.set_xticks(range(len(xs)), [str(x) for x in xs], rotation=30, ha="right")
    axes.set_yticks(range(len(series)), [str(name) for name in series])


def _name(
    axes: Axes, asked: StudyFigure, measure: str, facet: Label | None, *, outer: tuple[bool, bool]
) -> None:
    """Title a panel and its sides; `outer` tells whether it is in the last row, and in the first column."""
    told = (
        "" if facet is None else str(facet) if isinstance(facet, str) else f"{_spoken(asked.facet)} {facet}"
    )
    if asked.kind == "heatmap":
        axes.set_title(", ".join(part for part in (told, MEASURES[measure]) if part), fontsize=10)
    else:
        axes.set_title(told, fontsize=10)
        if outer[1]:
            axes.set_ylabel(MEASURES[measure])
    if outer[0] and asked.kind == "lines":
        axes.set_xlabel(_spoken(asked.x))


def _places(xs: Sequence[Label]) -> tuple[list[float], list[str]]:
    """Return where values lie on an axis: numbers where they are, others side by side with their names."""
    if all(isinstance(x, int | float) for x in xs):
        return [float(x) for x in xs], []
    return [float(place) for place in range(len(xs))], [str(x) for x in xs]


def _spoken(axis: str | None) -> str:
    return str(axis).replace("_", " ")

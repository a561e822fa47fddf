"""The figure of a study: lines, bars or heat maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedpoison.errors import ScenarioError
from fedpoison.plotting import heat_map, legend, lines, mark_legend, new_figure, save, style
from fedpoison.results.defects import LOST, NO_RESULT, used_marks
from fedpoison.results.run_frame import cross_table, run_marks
from fedpoison.studies.axes import AXIS_TITLES, Label, StudyFigure
from fedpoison.studies.study import Study

HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
Labels = list[Label]


def draw(study: Study, runs: pd.DataFrame) -> Figure:
    """Return the figure of a study: a panel per facet and measure, with means and ranges over the seeds.

    A mark replaces a value that is no result. A mark follows a value if replies or rounds were lost.

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
    runs = runs.assign(mark=run_marks(runs))
    panel = {"lines": _lines, "bars": _bars, "heatmap": _heat_map}[asked.kind]
    for (row, measure), (column, facet) in product(enumerate(asked.measure), enumerate(facets)):
        axes = grid[row][column]
        shown = runs if facet is None else runs[runs[str(asked.facet)] == facet]
        results = shown[measure].where(shown["mark"] != NO_RESULT)
        columns = {"x": shown[asked.x], "series": shown[asked.series], "y": 100 * results}
        panel(axes, pd.DataFrame(columns | {"mark": shown["mark"]}), series, xs)
        title = "" if facet is None else facet if isinstance(facet, str) else f"{_words(asked.facet)} {facet}"
        if asked.kind == "heatmap":
            title = ", ".join(part for part in (title, AXIS_TITLES[measure]) if part)
        elif column == 0:
            axes.set_ylabel(AXIS_TITLES[measure])
        axes.set_title(title, fontsize=10)
        if asked.kind == "lines" and row == len(asked.measure) - 1:
            axes.set_xlabel(_words(asked.x))
    marks = used_marks(runs["mark"])
    if asked.kind == "heatmap":
        mark_legend(figure, marks)
    else:
        across = _columns(figure.get_figwidth(), [*series, *marks.values()])
        legend(figure, grid[0][0], across, _words(asked.series), marks)
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
    numbers = all(isinstance(place, int | float) for place in xs)
    for position, name in enumerate(series):
        for place, height, mark in _marked(values, name):
            _write_mark(axes, place if numbers else xs.index(place), height, mark, position)
    axes.set_ylim(0, 101)


def _marked(values: pd.DataFrame, name: Label) -> Iterator[tuple[Label, float, str]]:
    """Yield place, mean and mark of each marked value of a series."""
    for place, group in values[values["series"] == name].groupby("x", sort=False):
        marks = set(group["mark"])
        if marks != {""}:
            yield cast("Label", place), group["y"].mean(), NO_RESULT if NO_RESULT in marks else LOST


def _write_mark(axes: Axes, across: Any, height: float, mark: str, position: int) -> None:
    """Write the mark of a value above it, or at the lower edge if the value is not drawn."""
    axes.annotate(
        mark,
        (across, 0.0 if np.isnan(height) else height),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        color=style(position)["color"],
        fontweight="bold",
    )


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
        for place, height, mark in _marked(values, name):
            _write_mark(axes, xs.index(place) + (position + 0.5) * width - 0.4, height, mark, position)
    axes.set_xlim(-0.5, len(xs) - 0.5)
    axes.set_xticks(range(len(xs)), [str(x) for x in xs], rotation=20, ha="right")
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    axes.set_ylim(0, 101)


def _heat_map(axes: Axes, values: pd.DataFrame, series: Labels, xs: Labels) -> None:
    table = cross_table(values, "y", "series", "x").reindex(index=series, columns=xs)
    marks = pd.DataFrame("", index=series, columns=xs)
    for name in series:
        for place, _, mark in _marked(values, name):
            marks.loc[name, place] = mark
    heat_map(axes, table.where(marks != NO_RESULT), marks=marks)


def _words(axis: str | None) -> str:
    return str(axis).replace("_", " ")

"""Figures of the report for print: SVG and PDF, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedpoison.plotting import (
    COLOURS,
    DIVERGING,
    Scale,
    accuracy_by_round,
    heat_maps,
    mark_legend,
    new_figure,
    save,
    single_heat_map,
    strategy_heat_map,
)
from fedpoison.report.page_data import WITHOUT_RESULT, PageData, seconds_by_phase
from fedpoison.report.summary import summarize
from fedpoison.report.trust_matrix import DROPPED, TrustMatrix, trust_matrix
from fedpoison.results.defects import LOST, NO_RESULT, used_marks
from fedpoison.results.history import History
from fedpoison.results.run_frame import MEASURES, cross_table
from fedpoison.results.store import file_name

FORMATS = ("svg", "pdf")


def write_figures(contents: PageData, folder: Path, on_figure: Callable[[int], None] = lambda _: None) -> int:
    """Write the figures of each setting, attack and strategy into a folder; return the number of files.

    Args:
        contents: Runs of the page.
        folder: Folder for the figures. It is created if it does not exist.
        on_figure: Called after each figure with the number of files so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table, names = summarize(contents), set[str]()
    for number, setting in enumerate(contents.settings):
        start = f"setting{number}-" if len(contents.settings) > 1 else ""
        cells = table[table["setting"] == setting]
        for name, figure in _setting(contents, cells) if len(cells) else ():
            file = file_name(start + name, names)
            names.add(file)
            for ending in FORMATS:
                save(figure, folder / f"{file}.{ending}")
            on_figure(len(FORMATS) * len(names))
    return len(FORMATS) * len(names)


def _setting(contents: PageData, table: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    yield "attack-by-strategy", attack_by_strategy(table)
    for attack in dict.fromkeys(table["attack"]):
        cells = table[table["attack"] == attack]
        runs = {
            str(row["strategy"]): [contents.runs[place].history for place in row["places"]]
            for row in cells.to_dict("records")
        }
        whole = {strategy: runs[strategy] for strategy in cells.loc[cells["mark"] == "", "strategy"]}
        if whole:
            noted = set(cells.loc[cells["noted"], "strategy"])
            starred = {f"{name} {LOST}" if name in noted else name: found for name, found in whole.items()}
            marks = used_marks([LOST] if noted & whole.keys() else [])
            yield f"classes-{attack}", class_curves(starred, f"accuracy under {attack}, %", marks)
            yield f"timings-{attack}", timings(whole, f"seconds per round under {attack}")
        damaged = cells[cells["damage"].notna()]
        if len(damaged):
            labels = next(iter(runs.values()))[0].class_labels
            yield f"damage-{attack}", damage(damaged, f"{attack}: damage by class", labels)
        for strategy, histories in runs.items():
            for history in histories[:1]:
                name = f"{attack}-{strategy}"
                yield f"rounds-{name}", history.plot()
                yield f"confusion-{name}", history.plot_confusion()
                if (matrix := trust_matrix(history)) is not None:
                    yield f"trust-{name}", trust(history, matrix)


def attack_by_strategy(table: pd.DataFrame) -> Figure:
    """Return a heat map per measure: attacks (rows) by strategies (columns), with the marks of the cells."""
    noted = table["noted"].map(lambda has_notes: LOST if has_notes else "")
    marked = table.assign(sign=noted.mask(table["mark"] == WITHOUT_RESULT, NO_RESULT))
    measures = {name: cross_table(table, column, "attack", "strategy") for name, column in MEASURES.items()}
    signs = cross_table(marked, "sign", "attack", "strategy", "first").fillna("")
    figure = heat_maps(measures, signs)
    mark_legend(figure, used_marks(marked["sign"]))
    return figure


def class_curves(
    runs: dict[str, list[History]], title: str, marks: Mapping[str, str] | None = None
) -> Figure:
    """Return a panel per class: accuracy after each round, one line per strategy, mean over the seeds.

    Args:
        runs: Runs of each strategy, by its name with its mark.
        title: Title of the figure.
        marks: Marks in the names, with their meaning. Default: none.
    """
    frames = [
        (100 * history.per_class())
        .melt(var_name="class", value_name="accuracy", ignore_index=False)
        .assign(strategy=strategy)
        for strategy, histories in runs.items()
        for history in histories
    ]
    frame = pd.concat(frames).reset_index()
    labels = next(iter(runs.values()))[0].class_labels
    titles = {number: f"class {labels[number]}" for number in frame["class"].unique()}
    figure, _ = accuracy_by_round(frame, "class", titles, list(runs), marks)
    figure.suptitle(title)
    return figure


def damage(cells: pd.DataFrame, title: str, labels: Sequence[str]) -> Figure:
    """Return the accuracy lost to an attack: strategies (rows) by classes (columns), percentage points."""
    lost = 100 * cells.set_index("strategy").filter(like="lost_").dropna(axis=1, how="all")
    lost.columns = pd.Index([labels[int(name.removeprefix("lost_"))] for name in lost.columns])
    most = max(5.0, float(np.nanmax(lost.abs().to_numpy())))
    return strategy_heat_map(lost, title, Scale(-most, most, DIVERGING, "percentage points"))


def trust(history: History, matrix: TrustMatrix) -> Figure:
    """Return the trust in each client (rows; malicious clients marked) in each round (columns)."""
    marked = [f"▲ {node}" if node in matrix.malicious else str(node) for node in matrix.nodes]
    shares = pd.DataFrame(matrix.shares, index=marked, columns=matrix.rounds).replace(DROPPED, np.nan)
    size = (max(5.0, 2.4 + 0.3 * len(matrix.rounds)), max(3.0, 1.4 + 0.16 * len(matrix.nodes)))
    scale = Scale(high=200, unit="% of an equal share")
    names = {"title": history.title, "xlabel": "round", "ylabel": "client (▲ malicious)"}
    figure = single_heat_map(shares, size, scale, numbers=False, **names)
    points = [
        (column, matrix.nodes.index(node)) for column, acting in enumerate(matrix.acting) for node in acting
    ]
    axes = figure.axes[0]
    if points:
        across, down = zip(*points, strict=True)
        axes.scatter(across, down, marker="^", s=14, c="#E69F00", edgecolors="black", linewidths=0.5)
    axes.tick_params(axis="y", labelsize=7)
    return figure


def timings(runs: dict[str, list[History]], title: str) -> Figure:
    """Return the seconds per round by phase, one bar per strategy, mean over rounds and seeds."""
    means = [pd.DataFrame([seconds_by_phase(run) for run in histories]).mean() for histories in runs.values()]
    seconds = pd.DataFrame(means, index=list(runs)).fillna(0.0)
    figure = new_figure(7, 1.6 + 0.4 * len(seconds))
    axes = figure.subplots()
    left = np.zeros(len(seconds))
    for place, phase in enumerate(seconds.columns):
        colour = COLOURS[place % len(COLOURS)]
        axes.barh(list(seconds.index), seconds[phase], left=left, label=str(phase), color=colour)
        left += seconds[phase].to_numpy()
    axes.set(title=title, xlabel="seconds")
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return figure

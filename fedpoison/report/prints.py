"""The figures of the report for print: SVG and PDF, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedpoison import figures
from fedpoison.figure_files import save
from fedpoison.file_names import file_name
from fedpoison.history import History
from fedpoison.report.contents import Contents, seconds_by_phase
from fedpoison.report.ledger import DROPPED, Ledger, ledger
from fedpoison.report.summary import Row, rows

FORMATS = ("svg", "pdf")
DIVERGING = "PuOr_r"


def draw(contents: Contents, folder: Path, on_figure: Callable[[int], None] = lambda _: None) -> int:
    """Write the figures of every setting, attack and cell into a folder; return how many files there are.

    Args:
        contents: what the page shows.
        folder: where to; made if need be.
        on_figure: told after each figure how many files there are so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table, names = rows(contents), set[str]()
    for number, setting in enumerate(contents.settings):
        start = f"setting{number}-" if len(contents.settings) > 1 else ""
        cells = [row for row in table if row.setting == setting]
        for name, figure in _setting(contents, cells) if cells else ():
            file = file_name(start + name, names)
            names.add(file)
            for ending in FORMATS:
                save(figure, folder / f"{file}.{ending}")
            on_figure(len(FORMATS) * len(names))
    return len(FORMATS) * len(names)


def _setting(contents: Contents, table: Sequence[Row]) -> Iterator[tuple[str, Figure]]:
    yield "attack-by-strategy", _overview(table)
    for attack in dict.fromkeys(row.attack for row in table):
        cells = [row for row in table if row.attack == attack and row.places]
        whole = [row for row in cells if not row.mark]
        if whole:
            yield f"classes-{attack}", class_curves(contents, whole)
            yield f"timings-{attack}", timings(contents, whole)
        damaged = [row for row in cells if row.damages is not None]
        if damaged:
            yield f"damage-{attack}", damage(damaged)
        for row in cells:
            yield from _cell(f"{attack}-{row.strategy}", contents.runs[row.places[0]].history)


def _cell(name: str, history: History) -> Iterator[tuple[str, Figure]]:
    yield f"rounds-{name}", figures.class_heat_map(history)
    yield f"confusion-{name}", figures.confusion_matrix(history)
    made = ledger(history)
    if made is not None:
        yield f"trust-{name}", trust(history, made)


def _overview(table: Sequence[Row]) -> Figure:
    values = {
        "accuracy": {(row.attack, row.strategy): row.accuracy.mean for row in table},
        "worst-class accuracy": {(row.attack, row.strategy): row.worst.mean for row in table},
        "attack success": {(row.attack, row.strategy): row.success.mean for row in table},
    }
    attacks = list(dict.fromkeys(row.attack for row in table))
    strategies = list(dict.fromkeys(row.strategy for row in table))
    return figures.matrices(
        {
            name: pd.DataFrame(
                [[cells.get((attack, strategy)) for strategy in strategies] for attack in attacks],
                index=attacks,
                columns=strategies,
                dtype=float,
            )
            for name, cells in values.items()
        }
    )


def class_curves(contents: Contents, cells: Sequence[Row]) -> Figure:
    """Return one panel a class: its accuracy after each round, one line a strategy, mean over the seeds."""
    frames = {
        row.strategy: [contents.runs[place].history.per_class() for place in row.places] for row in cells
    }
    classes = min(frame.shape[1] for runs in frames.values() for frame in runs)
    figure, grid = figures.panels(classes)
    for number, axes in enumerate(grid):
        for position, (strategy, runs) in enumerate(frames.items()):
            curves = pd.concat([100 * frame[number] for frame in runs], axis=1).dropna()
            figures.line(axes, curves.index, curves.to_numpy(), position, strategy)
        axes.set(title=f"class {number}", xlabel="round", ylim=(0, 101))
        axes.grid(alpha=0.3)
    figure.suptitle(f"accuracy under {cells[0].attack}, %")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    return figure


def damage(cells: Sequence[Row]) -> Figure:
    """Return what an attack took from each class (columns) under each strategy (rows), in points."""
    values = 100 * np.array([row.damages for row in cells])
    most = max(5.0, float(np.nanmax(np.abs(values))))
    figure = Figure(figsize=(2.4 + 0.6 * values.shape[1], 1.4 + 0.5 * len(cells)), layout="constrained")
    axes = figure.subplots()
    figures.heat(
        axes, values, low=-most, high=most, numbers=True, colours=DIVERGING, unit="percentage points"
    )
    axes.set(title=f"{cells[0].attack}: damage by class", xlabel="class")
    axes.set_xticks(range(values.shape[1]))
    axes.set_yticks(range(len(cells)), [row.strategy for row in cells])
    return figure


def trust(history: History, made: Ledger) -> Figure:
    """Return the trust of each node (rows; malicious ones marked) in each round (columns)."""
    values = np.array(
        [[np.nan if share in (None, DROPPED) else share for share in row] for row in made.shares]
    )
    size = (max(5.0, 2.4 + 0.3 * len(made.rounds)), max(3.0, 1.4 + 0.16 * len(made.nodes)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    figures.heat(axes, values, low=0, high=200, numbers=False, unit="% of an equal share")
    points = [
        (column, made.nodes.index(node)) for column, acting in enumerate(made.acting) for node in acting
    ]
    if points:
        across, down = zip(*points, strict=True)
        axes.scatter(across, down, marker="^", s=14, c="#E69F00", edgecolors="black", linewidths=0.5)
    axes.set(title=figures.title(history), xlabel="round", ylabel="node (▲ malicious)")
    step = -(-len(made.rounds) // 15)
    axes.set_xticks(range(0, len(made.rounds), step), [str(number) for number in made.rounds[::step]])
    axes.set_yticks(
        range(len(made.nodes)),
        [f"▲ {node}" if node in made.malicious else str(node) for node in made.nodes],
        fontsize=7,
    )
    return figure


def timings(contents: Contents, cells: Sequence[Row]) -> Figure:
    """Return the seconds of a round by phase, a bar a strategy, mean over rounds and seeds."""
    seconds = pd.DataFrame(
        [
            pd.DataFrame([seconds_by_phase(contents.runs[place].history) for place in row.places]).mean()
            for row in cells
        ],
        index=[row.strategy for row in cells],
    ).fillna(0.0)
    figure = Figure(figsize=(7, 1.6 + 0.4 * len(cells)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(cells))
    for place, phase in enumerate(seconds.columns):
        colour = figures.COLOURS[place % len(figures.COLOURS)]
        axes.barh(list(seconds.index), seconds[phase], left=left, label=str(phase), color=colour)
        left += seconds[phase].to_numpy()
    axes.set(title=f"seconds a round under {cells[0].attack}", xlabel="seconds")
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return figure

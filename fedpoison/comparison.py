"""Every attack against every strategy, on the same seeds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fedpoison.datasets import load_dataset
from fedpoison.errors import ScenarioError
from fedpoison.fleet import Fleet
from fedpoison.history import History
from fedpoison.rounds import Round
from fedpoison.scenario import Scenario
from fedpoison.simulation import Notify, run
from fedpoison.store import RunFolder

_log = logging.getLogger(__name__)

Measure = Callable[[Round], float | None]

MEASURES: dict[str, Measure] = {
    "accuracy": lambda record: record.accuracy,
    "worst-class accuracy": lambda record: record.worst_class_accuracy,
    "attack success": lambda record: record.success,
}
"""What a comparison tabulates, read off the last round of each run."""


@dataclass(frozen=True)
class Cell:
    """One run to make: an attack against a strategy, with one seed."""

    attack: str
    strategy: str
    seed: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """The runs of a matrix of attacks and strategies."""

    attacks: Sequence[str]
    strategies: Sequence[str]
    seeds: Sequence[int]
    histories: dict[Cell, History]

    def table(self, measure: Measure, *, spread: bool = False) -> pd.DataFrame:
        """Return attacks (rows) by strategies (columns): the mean over the seeds, or their deviation.

        Args:
            measure: what to read off the last round.
            spread: whether to return the standard deviation over the seeds in place of the mean.
        """
        reduce = np.std if spread else np.mean
        return pd.DataFrame(
            {
                strategy: [
                    float(reduce([_number(measure(history.last)) for history in self.runs(attack, strategy)]))
                    for attack in self.attacks
                ]
                for strategy in self.strategies
            },
            index=pd.Index(self.attacks, name="attack"),
        )

    def per_class(self) -> pd.DataFrame:
        """Return one row an attack and strategy with the final accuracy of each class, mean over seeds."""
        rows = {
            (attack, strategy): np.mean(
                [history.last.per_class_accuracy for history in self.runs(attack, strategy)], axis=0
            )
            for attack in self.attacks
            for strategy in self.strategies
        }
        frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis(columns="class")
        frame.index = pd.MultiIndex.from_tuples(rows, names=["attack", "strategy"])
        return frame

    def runs(self, attack: str, strategy: str) -> list[History]:
        """Return the histories of one attack against one strategy, a seed each."""
        return [self.histories[Cell(attack, strategy, seed)] for seed in self.seeds]


def compare(
    base: Scenario,
    attacks: Sequence[str],
    strategies: Sequence[str],
    *,
    seeds: Sequence[int],
    out: Path,
    fresh: bool = False,
    workers: int | None = None,
    data_dir: Path | None = None,
    on_run: Callable[[Cell, History | None], None] | None = None,
    on_round: Callable[[Cell, Round], None] | None = None,
    notify: Notify = _log.warning,
) -> Comparison:
    """Run every attack against every strategy with every seed, and return what came out.

    Runs that the store already holds complete are read, not made again.

    Args:
        base: the scenario whose attack, strategy and seed are varied.
        attacks: specs of attacks.
        strategies: specs of strategies.
        seeds: seeds, the same for every cell.
        out: the run store.
        fresh: make every run anew.
        workers: as for `simulate`.
        data_dir: as for `simulate`.
        on_run: called before a run with its cell and None, and after it with its history.
        on_round: called with each record as it comes.
        notify: told before the first run, once for each attack that its settings make do nothing.

    Raises:
        ScenarioError: a cell cannot be run; found before any training.
        DataError: the data set cannot be had.
        RunError: a run had to stop.
    """
    if base.groups:
        raise ScenarioError("groups: a comparison varies a single attack; leave the groups out.")
    dataset = load_dataset(base.dataset, data_dir=data_dir)
    cells = [Cell(a, s, seed) for a in attacks for s in strategies for seed in seeds]
    scenarios = {
        cell: base.but(dataset=dataset.name, attack=cell.attack, strategy=cell.strategy, seed=cell.seed)
        for cell in cells
    }
    fleets = {cell: Fleet(scenario, dataset) for cell, scenario in scenarios.items()}
    for reason in dict.fromkeys(reason for fleet in fleets.values() for reason in fleet.idle):
        notify(reason)
    histories = {}
    for cell, fleet in fleets.items():
        if on_run is not None:
            on_run(cell, None)
        folder = RunFolder(out / fleet.scenario.run_id)
        if folder.complete and not fresh:
            history = folder.history()
        else:
            report = None if on_round is None else lambda record, cell=cell: on_round(cell, record)
            history = run(fleet, out=out, workers=workers, on_round=report, notify=_told)
        histories[cell] = history
        if on_run is not None:
            on_run(cell, history)
    return Comparison(attacks, strategies, seeds, histories)


def _told(warning: str) -> None:
    """Say nothing: what the runs warn of has been told."""


def _number(value: float | None) -> float:
    return float("nan") if value is None else value

"""Every attack against every strategy, on the same seeds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedpoison.batch import BatchOptions, run_all
from fedpoison.errors import ScenarioError
from fedpoison.history import History
from fedpoison.measures import class_means
from fedpoison.rounds import Round
from fedpoison.scenario import Scenario

_log = logging.getLogger(__name__)

Measure = Callable[[Round], float | None]
At = Literal["last", "best"]
"""Which round of a run is read: the last one, or the one after which the accuracy was highest."""
OPTIMISTIC = (
    "reading each run at its best round: a maximum over rounds is chosen on the test set, which flatters "
    "every strategy, and above all those that an attack makes unstable. Nobody who deploys the model gets "
    "it; report the last round."
)

MEASURES: dict[str, Measure] = {
    "accuracy": lambda record: record.accuracy,
    "worst-class accuracy": lambda record: record.worst_class_accuracy,
    "attack success": lambda record: record.success,
}
"""What a comparison tabulates, read off one round of each run."""


@dataclass(frozen=True)
class Cell:
    """One run to make: an attack against a strategy, with one seed."""

    attack: str
    strategy: str
    seed: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """The runs of a matrix of attacks and strategies.

    A mean is only given where no run had to stop: one over the seeds that are left would hide the worst.
    """

    attacks: Sequence[str]
    strategies: Sequence[str]
    seeds: Sequence[int]
    histories: dict[Cell, History]
    at: At = "last"
    stopped: Mapping[Cell, str] = field(default_factory=dict)
    """Why a run has no history: its strategy had no answer to the updates of a round."""

    def runs(self, attack: str, strategy: str) -> list[History]:
        """Return the histories of one attack against one strategy, a seed each, without the stopped ones."""
        cells = [Cell(attack, strategy, seed) for seed in self.seeds]
        return [self.histories[cell] for cell in cells if cell not in self.stopped]

    def stops(self, attack: str, strategy: str) -> list[int]:
        """Return the seeds with which the strategy had to stop under the attack."""
        return [seed for seed in self.seeds if Cell(attack, strategy, seed) in self.stopped]

    def record(self, cell: Cell) -> Round | None:
        """Return the round that is read of a run, None if it had to stop; the initial model is never best."""
        if cell in self.stopped:
            return None
        history = self.histories[cell]
        if self.at == "last":
            return history.last
        return max(history.records[1:], key=lambda record: record.accuracy)

    def values(self, measure: Measure, attack: str, strategy: str) -> list[float]:
        """Return the measure with each seed, NaN where a run has none or had to stop."""
        records = [self.record(Cell(attack, strategy, seed)) for seed in self.seeds]
        found = [None if record is None else measure(record) for record in records]
        return [float("nan") if value is None else value for value in found]

    def table(self, measure: Measure, *, spread: bool = False) -> pd.DataFrame:
        """Return attacks (rows) by strategies (columns): the mean over the seeds, or their deviation.

        Args:
            measure: what to read off a round.
            spread: whether to return the sample standard deviation over the seeds in place of the mean.
        """

        def reduced(values: list[float]) -> float:
            if spread:
                return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            return float(np.mean(values))

        return pd.DataFrame(
            {
                strategy: [reduced(self.values(measure, attack, strategy)) for attack in self.attacks]
                for strategy in self.strategies
            },
            index=pd.Index(self.attacks, name="attack"),
        )

    @property
    def labels(self) -> int:
        """How many classes there are."""
        return len(next(iter(self.histories.values())).last.per_class_accuracy)

    def per_class(self) -> pd.DataFrame:
        """Return one row an attack and strategy with the accuracy of each class, mean over seeds."""
        return pd.concat({attack: self.classes(attack) for attack in self.attacks}, names=["attack"])

    def classes(self, attack: str) -> pd.DataFrame:
        """Return one row a strategy with the accuracy of each class under `attack`, mean over seeds.

        Seeds whose test set lacks a class have no part in its mean.
        """
        rows = {strategy: self._classes(attack, strategy).tolist() for strategy in self.strategies}
        frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis(columns="class")
        return frame.rename_axis(index="strategy")

    def _classes(self, attack: str, strategy: str) -> NDArray[np.float64]:
        records = [self.record(Cell(attack, strategy, seed)) for seed in self.seeds]
        ended = [record.per_class_accuracy for record in records if record is not None]
        return class_means(ended) if len(ended) == len(records) else np.full(self.labels, np.nan)


def compare(
    base: Scenario,
    attacks: Sequence[str],
    strategies: Sequence[str],
    *,
    seeds: Sequence[int],
    at: At = "last",
    **options: Unpack[BatchOptions],
) -> Comparison:
    """Run every attack against every strategy with every seed, and return what came out.

    Args:
        base: the scenario whose attack, strategy and seed are varied.
        attacks: specs of attacks.
        strategies: specs of strategies.
        seeds: seeds, the same for every cell.
        at: which round of each run is read; `notify` is told what is wrong with `best`.
        options: see `BatchOptions`.

    Raises:
        ScenarioError: a cell cannot be run; found before any training.
        DataError: the data set cannot be had.
        RunError: a run had to stop for a reason that is not its strategy's, or every run had to; the others
            were made all the same, and are kept.
        EngineError: Ray cannot be had.
    """
    if base.groups:
        raise ScenarioError("groups: a comparison varies a single attack; leave the groups out.")
    cells = {
        Cell(attack, strategy, seed): base.but(attack=attack, strategy=strategy, seed=seed)
        for attack in attacks
        for strategy in strategies
        for seed in seeds
    }
    if at == "best":
        options.get("notify", _log.warning)(OPTIMISTIC)
    batch = run_all(cells.values(), **options)
    batch.check(but=batch.refused if batch.histories else ())
    histories = {
        cell: batch.histories[scenario] for cell, scenario in cells.items() if scenario in batch.histories
    }
    stopped = {
        cell: batch.failures[scenario].reason
        for cell, scenario in cells.items()
        if scenario in batch.failures
    }
    return Comparison(attacks, strategies, seeds, histories, at, stopped)

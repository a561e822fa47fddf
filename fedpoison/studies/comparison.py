"""Comparison of every attack against every strategy, on the same seeds."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np
import pandas as pd

from fedpoison.errors import ScenarioError, unknown
from fedpoison.results.defects import NO_RESULT, Defects, pair_notes
from fedpoison.results.display import Displayed
from fedpoison.results.history import History
from fedpoison.results.round import Round
from fedpoison.results.run_frame import (
    STOPPED,
    class_columns,
    cross_table,
    intervals,
    lowest_accuracy,
    of_whole_groups,
    paired_differences,
    run_frame,
)
from fedpoison.scenario.aggregation import read_aggregation
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchOptions, run_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

At = Literal["last", "best"]
"""Round of a run that counts: the last round, or the round with the highest accuracy."""
OPTIMISTIC = (
    "reading each run at its best round: the test set selects this round, which overestimates each strategy, "
    "most of all strategies that an attack makes unstable. A deployed model does not reach this accuracy; "
    "report the last round."
)
_PAIR = ["attack", "strategy"]
_AXES = [*_PAIR, "seed"]


@dataclass(frozen=True)
class CompareCell:
    """One run of a comparison: an attack against a strategy, with one seed."""

    attack: str
    strategy: str
    seed: int


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Displayed):
    """Runs of a matrix of attacks and strategies.

    A mean is NaN if a run stopped with any seed: a mean over the other seeds would hide the worst case.
    """

    attacks: Sequence[str]
    strategies: Sequence[str]
    seeds: Sequence[int]
    histories: dict[CompareCell, History]
    at: At = "last"
    stopped: Mapping[CompareCell, str] = field(default_factory=dict)
    """Reasons of the runs in which the strategy could not aggregate the updates of a round."""

    def cells(self) -> list[CompareCell]:
        """Return the runs in the order of attacks, strategies and seeds."""
        return list(itertools.starmap(CompareCell, product(self.attacks, self.strategies, self.seeds)))

    def runs(self, attack: str, strategy: str) -> list[History]:
        """Return the histories of one attack against one strategy, per seed, without the stopped runs."""
        cells = [CompareCell(attack, strategy, seed) for seed in self.seeds]
        return [self.histories[cell] for cell in cells if cell not in self.stopped]

    def stopped_seeds(self, attack: str, strategy: str) -> list[int]:
        """Return the seeds with which the strategy stopped under the attack."""
        return [seed for seed in self.seeds if CompareCell(attack, strategy, seed) in self.stopped]

    def record(self, cell: CompareCell) -> Round | None:
        """Return the round of a run that counts, None if the run stopped; the initial model is never best."""
        if cell in self.stopped:
            return None
        history = self.histories[cell]
        if self.at == "last":
            return history.last
        return max(history.records[1:], key=lambda record: record.accuracy)

    def defects(self, attack: str, strategy: str) -> Defects:
        """Return the defects of the runs of one attack against one strategy, over the seeds."""
        return Defects.sum(history.defects for history in self.runs(attack, strategy))

    def marks(self) -> pd.DataFrame:
        """Return the mark of each attack (rows) and strategy (columns) in figures, as `Defects.mark`."""
        marks = [[self.defects(attack, rule).mark for rule in self.strategies] for attack in self.attacks]
        return pd.DataFrame(marks, index=list(self.attacks), columns=list(self.strategies))

    @property
    def remarks(self) -> list[str]:
        """One line per defect of the runs, with their attacks and strategies."""
        return pair_notes({pair: self.defects(*pair) for pair in product(self.attacks, self.strategies)})

    def to_frame(self) -> pd.DataFrame:
        """Return one row per run: `attack`, `strategy`, `seed`, `stopped`, measures, classes and defects.

        See `run_frame` and `Defects.columns`. A run that stopped has no columns of defects.
        """
        return self._frame

    @property
    def headline(self) -> str:
        """Size of the comparison."""
        return (
            f"accuracy by attack and strategy in the {self.at} round, mean over the seeds "
            f"{', '.join(map(str, self.seeds))}, stopped runs: {len(self.stopped)}"
        )

    def shown_frame(self) -> pd.DataFrame:
        """Return the mean accuracy by attack (rows) and strategy (columns)."""
        return self.table("accuracy")

    def plot(self) -> Figure:
        """Draw a heat map per measure: attacks (rows) by strategies (columns)."""
        from fedpoison.studies.figures import attack_by_strategy  # noqa: PLC0415  # matplotlib takes a second to import

        return attack_by_strategy(self)

    @cached_property
    def _frame(self) -> pd.DataFrame:
        frame = run_frame(_AXES, ((astuple(cell), self.record(cell)) for cell in self.cells()))
        defects = [
            {} if cell in self.stopped else self.histories[cell].defects.columns() for cell in self.cells()
        ]
        return frame.join(pd.DataFrame(defects))

    @property
    def class_labels(self) -> list[str]:
        """Number of each class, with its name if it has one."""
        return next(iter(self.histories.values())).class_labels

    @property
    def labels(self) -> int:
        """Number of classes."""
        return len(next(iter(self.histories.values())).last.per_class_accuracy)

    def values(self, measure: str, attack: str, strategy: str) -> list[float]:
        """Return a column of `to_frame` for one attack and strategy: a value per seed, NaN without one."""
        chosen = (self._frame["attack"] == attack) & (self._frame["strategy"] == strategy)
        return list(self._frame.loc[chosen, measure])

    def table(self, measure: str, reduce: Literal["mean", "std"] = "mean") -> pd.DataFrame:
        """Return attacks (rows) by strategies (columns).

        Args:
            measure: A column of `to_frame`, such as those in `MEASURES`.
            reduce: Mean over the seeds, or standard deviation of a sample.
        """
        return cross_table(
            self._frame, measure, "attack", "strategy", lambda values: values.agg(reduce, skipna=False)
        )

    def per_class(self) -> pd.DataFrame:
        """Return one row per attack and strategy with the accuracy of each class, mean over seeds.

        A seed whose test set lacks a class does not count in the mean of that class.
        """
        columns = class_columns(self._frame)
        means = of_whole_groups(self._frame, _PAIR, columns).groupby(_PAIR, sort=False)[columns].mean()
        return means.set_axis(pd.RangeIndex(len(columns), name="class"), axis=1)

    def classes(self, attack: str) -> pd.DataFrame:
        """Return the rows of `per_class` under one attack, by strategy."""
        return self.per_class().loc[[attack]].droplevel("attack")

    def estimates(self) -> pd.DataFrame:
        """Return one row per attack, strategy and measure: `mean` over the seeds, `low` and `high` (95 %).

        A measure that a run lacks, such as the success of an attack without a target, is NaN.
        """
        return intervals(self._frame, _PAIR)

    def differences(self, reference: str | None = None) -> pd.DataFrame:
        """Return the rows of `estimates` for each strategy minus the reference, paired over the seeds.

        Args:
            reference: One of the strategies. Default: `most_robust`.

        Raises:
            ScenarioError: The reference is none of the strategies.
        """
        reference = self.most_robust() if reference is None else check_reference(self.strategies, reference)
        return intervals(paired_differences(self._frame, "strategy", reference, ["attack", "seed"]), _PAIR)

    def most_robust(self) -> str:
        """Return the strategy with the best worst case; strategies that stopped or are no result are last."""
        accuracy = self.table("accuracy").mask(self.marks() == NO_RESULT)
        return str(lowest_accuracy(accuracy.fillna(STOPPED)).idxmax())

    def stopped_runs(self) -> pd.DataFrame:
        """Return one row per run that stopped: `attack`, `strategy`, `seed` and the `reason`."""
        rows = [(*astuple(cell), reason) for cell, reason in self.stopped.items()]
        return pd.DataFrame(rows, columns=[*_AXES, "reason"])

    def worst_case(self) -> pd.DataFrame:
        """Return one row per strategy with its worst case, by means over the seeds.

        `accuracy` is the lowest over the attacks, and `under` is that attack. `class`, `class_accuracy` and
        `class_under` give the class with the lowest accuracy under any attack. `success` is the highest
        success of an attack with a target and `success_of` is that attack: NaN and None without one.

        An attack that stops a strategy with any seed is its worst case: `under` and `class_under` name the
        attack, and the accuracies are NaN.
        """
        accuracy, success = self.table("accuracy"), self.table("success")
        classes = {attack: self.classes(attack) for attack in self.attacks}
        rows: list[dict[str, object]] = []
        for strategy in self.strategies:
            stopping = [attack for attack in self.attacks if self.stopped_seeds(attack, strategy)]
            by_class = pd.concat({attack: frame.loc[strategy] for attack, frame in classes.items()})
            under, label = (stopping[0], None) if stopping else by_class.idxmin()
            reached = success[strategy].dropna()
            rows.append(
                {
                    "accuracy": np.nan if stopping else accuracy[strategy].min(),
                    "under": stopping[0] if stopping else accuracy[strategy].idxmin(),
                    "class": label,
                    "class_accuracy": np.nan if stopping else by_class.min(),
                    "class_under": under,
                    "success": reached.max(),
                    "success_of": reached.idxmax() if len(reached) else None,
                }
            )
        frame = pd.DataFrame(rows, index=pd.Index(self.strategies, name="strategy"))
        return frame.astype({"class": "Int64"})


def check_reference(strategies: Sequence[str], reference: str) -> str:
    """Return the reference as it is written among the strategies.

    Raises:
        ScenarioError: The reference is none of the strategies.
    """
    written = {read_aggregation(strategy): strategy for strategy in strategies}
    try:
        return written[read_aggregation(reference)]
    except (KeyError, ScenarioError):
        raise unknown("reference", reference, strategies) from None


def compare(
    base: Scenario,
    attacks: Sequence[str],
    strategies: Sequence[str],
    *,
    seeds: Sequence[int],
    at: At = "last",
    **options: Unpack[BatchOptions],
) -> Comparison:
    """Run every attack against every strategy with every seed, and return the comparison.

    Args:
        base: Scenario whose attack, strategy and seed are varied.
        attacks: Specs of attacks.
        strategies: Specs of strategies.
        seeds: Seeds, the same for every cell.
        at: Round of each run that counts; `notify` gets a warning about `best`.
        options: See `BatchOptions`.

    Raises:
        ScenarioError: A cell cannot run; raised before any training.
        DataError: The data set is not available.
        RunError: A run stopped for a reason other than its strategy, or all runs stopped. The other runs are
            finished and kept.
        EngineError: Ray is not available.
    """
    if base.groups:
        raise ScenarioError("groups: a comparison varies a single attack; omit the groups.")
    cells = {
        CompareCell(*labels): base.replace(**dict(zip(_AXES, labels, strict=True)))
        for labels in product(attacks, strategies, seeds)
    }
    if at == "best":
        options.get("notify", _log.warning)(OPTIMISTIC)
    batch = run_all(cells.values(), **options)
    batch.check(ignore=batch.aggregation_failed if batch.histories else ())
    histories = {cell: batch.histories[run] for cell, run in cells.items() if run in batch.histories}
    stopped = {cell: batch.failures[run].reason for cell, run in cells.items() if run in batch.failures}
    return Comparison(attacks, strategies, seeds, histories, at, stopped)

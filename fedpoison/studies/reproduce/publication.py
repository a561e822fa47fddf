"""A published study: the runs behind each of its numbers, and what to read off them."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

import pandas as pd

from fedpoison.errors import ScenarioError
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchOptions, BatchResult, run_all

SLACK = 0.01
"""How far ours may be from theirs beyond two published deviations: one point."""

Readout = Callable[[pd.DataFrame], tuple[float, float]]
"""Reads mean and deviation over the seeds off the accuracies after each evaluated round (rows) and seed."""


def mean_of_last(count: int) -> Readout:
    """Return what reads each seed's mean over its last `count` evaluations.

    >>> mean_of_last(2)(pd.DataFrame({0: [0.1, 0.6, 0.8], 1: [0.1, 0.7, 0.9]}))[0]
    0.75
    """

    def read(accuracy: pd.DataFrame) -> tuple[float, float]:
        means = accuracy.iloc[-count:].mean()
        return float(means.mean()), float(means.std())

    return read


def best(accuracy: pd.DataFrame) -> tuple[float, float]:
    """Read the mean over the seeds where it is largest: a habit to reproduce, not to adopt.

    >>> best(pd.DataFrame({0: [0.1, 0.9, 0.8], 1: [0.1, 0.7, 0.8]}))[0]
    0.8
    """
    row = accuracy.iloc[int(accuracy.mean(axis=1).argmax())]
    return float(row.mean()), float(row.std())


def after(number: int) -> Readout:
    """Return what reads the accuracy after a round, or after the last one before it that was evaluated."""

    def read(accuracy: pd.DataFrame) -> tuple[float, float]:
        row = accuracy.loc[:number].iloc[-1]
        return float(row.mean()), float(row.std())

    return read


@dataclass(frozen=True, eq=False)
class PublishedValue:
    """One published number."""

    name: str
    scenarios: Sequence[Scenario]
    """What to run with every seed; where there are several, the one that comes out worst counts."""
    reading: Readout
    published: float
    """The published mean, as a share."""
    deviation: float | None = None
    """The published standard deviation over the seeds, of a sample; None where there is none."""
    by_seed: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """Fields in which the published runs of single seeds are known to differ."""

    @property
    def margin(self) -> float:
        """How far ours may be from theirs."""
        return 2 * (self.deviation or 0.0) + SLACK


@dataclass(frozen=True, eq=False)
class Publication:
    """The numbers of one publication."""

    name: str
    title: str
    """What was published, and where."""
    cells: Sequence[PublishedValue]
    seeds: Sequence[int]
    remarks: Sequence[str]
    """How ours is known to differ from theirs."""

    def pick(self, patterns: Sequence[str]) -> list[PublishedValue]:
        """Return the cells whose name fits one of `patterns`, such as `*/krum/*`; all of them for none.

        Raises:
            ScenarioError: a pattern fits no cell.
        """
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(cell.name, pattern) for cell in self.cells):
                names = ", ".join(cell.name for cell in self.cells)
                raise ScenarioError(
                    f"cell {pattern!r}: {self.name} has none of that name. Choose from {names}."
                )
        wanted = patterns or ["*"]
        return [
            cell for cell in self.cells if any(fnmatch.fnmatchcase(cell.name, pattern) for pattern in wanted)
        ]


@dataclass(frozen=True, eq=False)
class CellResult:
    """What came of one cell."""

    cell: PublishedValue
    mean: float | None
    """Ours; None where a run had to stop."""
    deviation: float | None
    failure: str = ""
    """Why a run had to stop."""

    @property
    def difference(self) -> float | None:
        """Ours minus theirs."""
        return None if self.mean is None else self.mean - self.cell.published

    @property
    def matches(self) -> bool:
        """Whether ours is inside two published deviations plus one point."""
        return self.difference is not None and abs(self.difference) <= self.cell.margin


def reproduce(
    cells: Sequence[PublishedValue],
    seeds: Sequence[int],
    *,
    changes: Mapping[str, Any] | None = None,
    **options: Unpack[BatchOptions],
) -> list[CellResult]:
    """Make the runs behind the cells that the store does not hold, and return what came out.

    Args:
        cells: the numbers to reproduce, such as `study.pick([])`.
        seeds: every scenario runs with each.
        changes: fields of the scenarios to change, to try a study at a smaller cost.
        options: see `BatchOptions`.

    Raises:
        ScenarioError: a scenario cannot be run; found before any training.
        DataError: the data set cannot be had.
        EngineError: Ray cannot be had.
    """
    changes = changes or {}
    planned = {
        cell: [
            [made.replace(**{**cell.by_seed.get(seed, {}), **changes, "seed": seed}) for seed in seeds]
            for made in cell.scenarios
        ]
        for cell in cells
    }
    wanted = dict.fromkeys(scenario for rows in planned.values() for row in rows for scenario in row)
    batch = run_all(wanted, **options)
    return [_cell_result(cell, rows, batch) for cell, rows in planned.items()]


def _cell_result(cell: PublishedValue, rows: Sequence[Sequence[Scenario]], batch: BatchResult) -> CellResult:
    failures = [batch.failures[scenario] for row in rows for scenario in row if scenario in batch.failures]
    if failures:
        return CellResult(cell, None, None, failures[0].reason)
    read = [
        cell.reading(
            pd.DataFrame({scenario.seed: batch.histories[scenario].rounds()["accuracy"] for scenario in row})
        )
        for row in rows
    ]
    return CellResult(cell, *min(read))

"""Published study: the scenarios of each of its numbers, and how to compute the number from the runs."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

import pandas as pd

from fedpoison.errors import ScenarioError
from fedpoison.results.defects import Defects
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchOptions, BatchResult, run_all

SLACK = 0.01
"""Allowed difference in addition to two published deviations: one percentage point."""

Readout = Callable[[pd.DataFrame], tuple[float, float]]
"""Function from accuracies, evaluated rounds (rows) by seeds, to mean and deviation over the seeds."""


def mean_of_last(count: int) -> Readout:
    """Return a readout of each seed's mean over its last `count` evaluations.

    >>> mean_of_last(2)(pd.DataFrame({0: [0.1, 0.6, 0.8], 1: [0.1, 0.7, 0.9]}))[0]
    0.75
    """

    def read(accuracy: pd.DataFrame) -> tuple[float, float]:
        return _spread(accuracy.iloc[-count:].mean())

    return read


def best(accuracy: pd.DataFrame) -> tuple[float, float]:
    """Return the largest mean over the seeds: use it only to reproduce published numbers.

    >>> best(pd.DataFrame({0: [0.1, 0.9, 0.8], 1: [0.1, 0.7, 0.8]}))[0]
    0.8
    """
    return _spread(accuracy.iloc[int(accuracy.mean(axis=1).argmax())])


def after(number: int) -> Readout:
    """Return a readout of the accuracy after a round, or after the last evaluated round before it."""
    return lambda accuracy: _spread(accuracy.loc[:number].iloc[-1])


def _spread(seeds: pd.Series[float]) -> tuple[float, float]:
    return float(seeds.mean()), float(seeds.std())


@dataclass(frozen=True, eq=False)
class PublishedValue:
    """One published number."""

    name: str
    scenarios: Sequence[Scenario]
    """Scenarios to run with every seed. Of several scenarios, the one with the lowest accuracy counts."""
    reading: Readout
    published: float
    """Published mean, as a share."""
    deviation: float | None = None
    """Published standard deviation of a sample over the seeds. Default: none published."""
    by_seed: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """Fields in which the published runs of single seeds differ."""

    @property
    def margin(self) -> float:
        """Allowed difference between our mean and the published mean."""
        return 2 * (self.deviation or 0.0) + SLACK


@dataclass(frozen=True, eq=False)
class Publication:
    """Numbers of one publication."""

    name: str
    title: str
    """Title and place of the publication."""
    cells: Sequence[PublishedValue]
    seeds: Sequence[int]
    remarks: Sequence[str]
    """Known differences between our runs and the published runs."""

    def pick(self, patterns: Sequence[str]) -> list[PublishedValue]:
        """Return the cells whose name matches one of `patterns`, such as `*/krum/*`. Default: all cells.

        Raises:
            ScenarioError: A pattern matches no cell.
        """
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(cell.name, pattern) for cell in self.cells):
                names = ", ".join(cell.name for cell in self.cells)
                raise ScenarioError(f"cell {pattern!r}: {self.name} has no such cell. Choose from {names}.")
        wanted = patterns or ["*"]
        return [
            cell for cell in self.cells if any(fnmatch.fnmatchcase(cell.name, pattern) for pattern in wanted)
        ]


@dataclass(frozen=True, eq=False)
class CellResult:
    """Result of one cell."""

    cell: PublishedValue
    mean: float | None
    """Our mean; None if a run stopped."""
    deviation: float | None
    failure: str = ""
    """Reason if a run stopped."""
    defects: Defects = field(default_factory=Defects)
    """Defects of the runs."""

    @property
    def difference(self) -> float | None:
        """Our mean minus the published mean."""
        return None if self.mean is None else self.mean - self.cell.published

    @property
    def matches(self) -> bool:
        """Whether our mean is a result, and within two published deviations plus one point."""
        if self.difference is None or self.defects.no_result:
            return False
        return abs(self.difference) <= self.cell.margin


def reproduce(
    cells: Sequence[PublishedValue],
    seeds: Sequence[int],
    *,
    changes: Mapping[str, Any] | None = None,
    **options: Unpack[BatchOptions],
) -> list[CellResult]:
    """Run the missing scenarios of the cells, and return the results.

    Args:
        cells: Numbers to reproduce, such as `study.pick([])`.
        seeds: Seeds of every scenario.
        changes: Fields of the scenarios to change, such as fewer rounds for a quick trial.
        options: See `BatchOptions`.

    Raises:
        ScenarioError: A scenario cannot run; raised before any training.
        DataError: The data set is not available.
        EngineError: Ray is not available.
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
        cell.reading(pd.DataFrame({each.seed: batch.histories[each].to_frame()["accuracy"] for each in row}))
        for row in rows
    ]
    defects = Defects.sum(batch.histories[scenario].defects for row in rows for scenario in row)
    return CellResult(cell, *min(read), defects=defects)

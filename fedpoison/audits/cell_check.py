"""A sample of the cells of a card that runs again, and its numbers next to those of the card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import torch

from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_parts import Attacked, Clean, Measured
from fedpoison.audits.leaderboard import Row
from fedpoison.audits.setting import AuditSetting
from fedpoison.results.history import History
from fedpoison.rng import generator_for
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchOptions, batch_runner

Value = Measured | list[int]


@dataclass(frozen=True)
class CellCheck:
    """One cell of a card, which ran again."""

    cell: str
    differences: Mapping[str, tuple[str, str]]
    """Measures that differ, each with the value of the card and the value of this machine."""

    @property
    def text(self) -> str:
        """The cell, and whether its numbers are the same."""
        if not self.differences:
            return f"{self.cell}: the same numbers"
        parts = [f"{name} {card} in the card, {here} here" for name, (card, here) in self.differences.items()]
        return f"{self.cell}: {'; '.join(parts)}"


def cells(card: AuditCard) -> list[Row]:
    """Return the cells of a card that can run again."""
    return [*card.attacked, *card.clean]


def sample(card: AuditCard, count: int, seed: int) -> list[Row]:
    """Return a random choice of cells. The seed decides."""
    every = cells(card)
    order = torch.randperm(len(every), generator=generator_for(seed, "card check")).tolist()
    return [every[place] for place in sorted(order[:count])]


def run_again(
    card: AuditCard,
    setting: AuditSetting,
    chosen: Sequence[Row],
    *,
    tolerance: float = 0.0,
    on_planned: Callable[[int], None] = lambda _: None,
    **options: Unpack[BatchOptions],
) -> list[CellCheck]:
    """Run some cells of a card again, and compare their numbers.

    Args:
        card: Card with the seeds.
        setting: Setting of the audit on this machine.
        chosen: From `sample`.
        tolerance: Largest difference of two equal numbers, as a share. 0: equal bits.
        on_planned: Callback with the number of runs.
        options: See `BatchOptions`.

    Raises:
        RunError: a run failed other than by a stopped strategy.
        EngineError: Ray is not available.
    """
    plans = {
        place: [scenario_of(row, setting, seed) for seed in card.seeds] for place, row in enumerate(chosen)
    }
    wanted = list(dict.fromkeys(scenario for plan in plans.values() for scenario in plan))
    on_planned(len(wanted))
    with batch_runner(keep_going=True, **options) as run:
        batch = run(wanted)
    batch.check(ignore=batch.aggregation_failed)
    found = []
    for place, row in enumerate(chosen):
        here = _measures({scenario.seed: batch.histories.get(scenario) for scenario in plans[place]})
        theirs: dict[str, Value] = {"accuracy": row.accuracy, "worst class": row.worst_class_accuracy}
        if isinstance(row, Attacked):
            theirs["stopped seeds"] = row.stopped_seeds
            if row.success is not None:
                theirs["success"] = row.success
        differences = {
            name: (_shown(value), _shown(here[name]))
            for name, value in theirs.items()
            if not _equal(value, here[name], tolerance)
        }
        found.append(CellCheck(describe(row), differences))
    return found


def _measures(runs: Mapping[int, History | None]) -> dict[str, Value]:
    """Return the measures of a cell from its runs by seed. None: the attack stopped the strategy."""
    last = [None if run is None else run.last for run in runs.values()]
    return {
        "accuracy": Measured.of([0.0 if each is None else each.accuracy for each in last]),
        "worst class": Measured.of([0.0 if each is None else each.worst_class_accuracy for each in last]),
        "success": Measured.of([0.0 if each is None else each.success or 0.0 for each in last]),
        "stopped seeds": [seed for seed, run in runs.items() if run is None],
    }


def scenario_of(row: Row, setting: AuditSetting, seed: int) -> Scenario:
    """Return the run of a cell with a seed."""
    if isinstance(row, Clean):
        return setting.clean(row.partition, row.share, seed)
    return setting.base.replace(
        attack=row.attack,
        schedule=row.schedule,
        knowledge=row.knowledge,
        partition=setting.protocol.partitions[row.partition],
        malicious=row.share,
        seed=seed,
    )


def describe(row: Row) -> str:
    """Return the attack, the partition and the share of a cell."""
    attack = row.attack if isinstance(row, Attacked) else "without attack"
    return f"{attack}, {row.partition}, {100 * row.share:g} % malicious"


def _shown(value: Value) -> str:
    return value.percent() if isinstance(value, Measured) else str(value)


def _equal(one: Value, other: Value, tolerance: float) -> bool:
    if not isinstance(one, Measured) or not isinstance(other, Measured):
        return one == other
    pairs = [(one.mean, other.mean), (one.low, other.low), (one.high, other.high)]
    return all(a == b or (a is not None and b is not None and abs(a - b) <= tolerance) for a, b in pairs)

"""The headline numbers of a report, for the table that it opens with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from fedpoison.history import History
from fedpoison.measures import class_means
from fedpoison.report.axes import nobody_attacks
from fedpoison.report.contents import Contents


@dataclass(frozen=True)
class Value:
    """A mean over the runs of a cell, and how they differ; shares of one."""

    mean: float | None
    deviation: float | None = None
    """None where there is one run."""

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Value:
        """Return the mean of the values that are there."""
        there = [value for value in values if value is not None and np.isfinite(value)]
        if not there:
            return cls(None)
        return cls(fmean(there), stdev(there) if len(there) > 1 else None)


@dataclass(frozen=True)
class Row:
    """An attack against a strategy in a setting, after the last round; no numbers where `mark` says why."""

    setting: str
    attack: str
    strategy: str
    places: Sequence[int]
    """Its runs that came to their end: nothing is told of the others."""
    accuracy: Value = Value(None)
    worst: Value = Value(None)
    worst_class: int | None = None
    """The class that fares worst, mean over the runs."""
    success: Value = Value(None)
    damage: Value = Value(None)
    """What the attack took from the class that it took most from; against the clean twins."""
    hit_class: int | None = None
    damages: Sequence[float] | None = None
    """The same for every class, mean over the runs; None where no run has a clean twin."""
    mark: str = ""
    """How many of its runs the strategy had to stop, if it did: see `Contents.marks`."""

    @property
    def rank(self) -> float:
        """The mean accuracy; where the strategy had to stop, less than any."""
        return -1.0 if self.mark else self.accuracy.mean or 0.0


@dataclass(frozen=True)
class Headline:
    """One number that sums up a page."""

    name: str
    value: str
    note: str


def rows(contents: Contents) -> list[Row]:
    """Return one row for each setting, attack and strategy, in the order of the axes.

    Those have none of which no run came to its end, unless the strategy had to stop.
    """
    marks = contents.marks
    cells: dict[tuple[int, int, int], list[int]] = {cell: [] for cell in marks}
    for place, cell in enumerate(contents.places):
        if contents.runs[place].complete:
            cells.setdefault(cell, []).append(place)
    return [_row(contents, cell, cells[cell], marks.get(cell, "")) for cell in sorted(cells)]


def _row(contents: Contents, cell: tuple[int, int, int], places: Sequence[int], mark: str) -> Row:
    setting, attack, strategy = cell
    row = Row(contents.settings[setting], contents.attacks[attack], contents.strategies[strategy], places)
    if mark:
        return replace(row, mark=mark)
    last = [contents.runs[place].history.last for place in places]
    classes = class_means([record.per_class_accuracy for record in last])
    damages = [lost for place in places if (lost := _damage(contents, place)) is not None]
    damage = class_means(damages) if damages else None
    hit = None if damage is None else int(np.nanargmax(damage))
    return replace(
        row,
        accuracy=Value.of([record.accuracy for record in last]),
        worst=Value.of([record.worst_class_accuracy for record in last]),
        worst_class=int(np.nanargmin(classes)),
        success=Value.of([record.success for record in last]),
        damage=Value.of([float(lost[hit]) for lost in damages]),
        hit_class=hit,
        damages=None if damage is None else damage.tolist(),
    )


def _damage(contents: Contents, place: int) -> NDArray[np.float64] | None:
    """Return the accuracy that the attack took from each class by the last round, (k,)."""
    twin = contents.twins[place]
    if twin is None:
        return None
    return _classes(contents.runs[twin].history) - _classes(contents.runs[place].history)


def _classes(history: History) -> NDArray[np.float64]:
    return np.array(history.last.per_class_accuracy)


def headlines(contents: Contents, table: Sequence[Row]) -> list[Headline]:
    """Return the numbers that a reader wants first."""
    return [*_extent(contents, table), *_clean(table), *_under_attack(table)]


def _extent(contents: Contents, table: Sequence[Row]) -> Iterator[Headline]:
    finished = [run for run in contents.runs if run.complete]
    table = [row for row in table if row.places]
    settings = {row.setting for row in table}
    parts = [
        _counted(len({row.attack for row in table if not nobody_attacks(row.attack)}), "attack"),
        _counted(len({row.strategy for row in table}), "strategy", "strategies"),
        _counted(len({run.history.scenario.seed for run in finished}), "seed"),
    ]
    if len(settings) > 1:
        parts.append(_counted(len(settings), "setting"))
    unfinished = len(contents.runs) - len(finished)
    yield Headline("Finished runs" if unfinished else "Runs", str(len(finished)), ", ".join(parts))
    stopped = sum(run.stopped for run in contents.runs)
    if unfinished:
        told = f"{stopped} of them stopped by the strategy" if stopped else "in none of the other numbers"
        yield Headline("Not finished", str(unfinished), f"{told}; listed below")


def _clean(table: Sequence[Row]) -> Iterator[Headline]:
    found = [row for row in table if nobody_attacks(row.attack) and not row.mark]
    if found:
        best = max(found, key=lambda row: row.accuracy.mean or 0)
        yield Headline("Best without attack", percent(best.accuracy.mean), f"accuracy of {best.strategy}")


def _under_attack(table: Sequence[Row]) -> Iterator[Headline]:
    attacked = [row for row in table if not nobody_attacks(row.attack)]
    if not attacked:
        return
    low = min(attacked, key=lambda row: row.rank)
    lowest = low.mark or percent(low.accuracy.mean)
    yield Headline("Lowest accuracy", lowest, f"{low.strategy} under {low.attack}")
    least = _least(attacked)
    strategy = max(sorted(least), key=lambda name: least[name], default="")
    if len(least) > 1 and least[strategy] >= 0:
        note = f"{strategy}: its lowest accuracy under what all were attacked with, the highest of them"
        yield Headline("Stands attacks best", percent(least[strategy]), note)
    aimed = [row for row in attacked if row.success.mean is not None]
    if aimed:
        top = max(aimed, key=lambda row: row.success.mean or 0)
        yield Headline("Highest attack success", percent(top.success.mean), f"{top.attack} on {top.strategy}")


def _least(attacked: Sequence[Row]) -> dict[str, float]:
    """Return the lowest accuracy of each strategy where all were attacked alike; empty if they never were.

    An attack that made a strategy stop is its worst, whether or not the others met it.
    """
    met: dict[str, dict[tuple[str, str], float]] = {}
    for row in attacked:
        met.setdefault(row.strategy, {})[row.setting, row.attack] = row.rank
    shared = set.intersection(*(set(cases) for cases in met.values()))
    if not shared:
        return {}
    return {
        strategy: min(rank for case, rank in cases.items() if case in shared or rank < 0)
        for strategy, cases in met.items()
    }


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def percent(share: float | None) -> str:
    """Return a share in per cent.

    >>> percent(0.915), percent(None)
    ('91.5 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def spelt(value: Value) -> str:
    """Return a mean in per cent, with its deviation where there is one.

    >>> spelt(Value(0.9, 0.01)), spelt(Value(None))
    ('90.0 ± 1.0', '-')
    """
    if value.mean is None:
        return "-"
    return f"{100 * value.mean:.1f}" + ("" if value.deviation is None else f" ± {100 * value.deviation:.1f}")

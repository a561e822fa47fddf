"""Result of a search for breakdowns: when a share counts as breaking, how it is found, and its curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import pandas as pd

from fedpoison.errors import ScenarioError, unknown
from fedpoison.results.round import Round
from fedpoison.results.run_frame import MEASURES

POINTS = 10.0
LEVEL = 50.0
_ROUNDING = 1e-9
"""So that 0.95 - 0.85 is a cost of 0.1."""
_MEASURES = {
    "accuracy": MEASURES["accuracy"],
    "worst-class": MEASURES["worst-class accuracy"],
    "success": MEASURES["attack success"],
}


@dataclass(frozen=True)
class BreakdownCriterion:
    """What is measured after the last round, and how much of it is too much.

    Build one with `criterion`.
    """

    measure: str
    limit: float
    """A share: of accuracy that may not be lost, or of success that may not be reached."""

    @property
    def lost(self) -> bool:
        """Whether the cost is what is lost against the clean run; else it is the measure itself."""
        return self.measure != "success"

    @property
    def description(self) -> str:
        """What a share does that breaks a strategy."""
        limit = f"{100 * self.limit:g}"
        return {
            "accuracy": f"costs {limit} points of accuracy",
            "worst-class": f"costs {limit} points of the worst class's accuracy",
            "success": f"lets the attack succeed in {limit} %",
        }[self.measure]

    @property
    def axis_title(self) -> str:
        """What the cost is, as the title of an axis."""
        return {
            "accuracy": "accuracy lost, points",
            "worst-class": "worst-class accuracy lost, points",
            "success": "attack success, %",
        }[self.measure]

    def value(self, record: Round) -> float:
        """Return what is measured; NaN where the run has none."""
        found = getattr(record, _MEASURES[self.measure])
        return float("nan") if found is None else found

    def cost(self, value: float, clean: float) -> float:
        """Return what is held against the limit, given the measure and that of the clean run."""
        return clean - value if self.lost else value

    def is_broken(self, costs: Sequence[float]) -> bool:
        """Return whether the mean of the costs reaches the limit."""
        return fmean(costs) >= self.limit - _ROUNDING


def criterion(measure: str, *, points: float | None = None, level: float | None = None) -> BreakdownCriterion:
    """Return the criterion of that measure: `accuracy`, `worst-class` or `success`.

    Args:
        measure: the accuracy on all classes, on the class that fares worst, or the success of the attack.
        points: for the first two, how many points may not be lost; 10 for None.
        level: for the success, how many per cent may not be reached; 50 for None.

    >>> criterion("accuracy").is_broken([0.15, 0.05]), criterion("success", level=60).limit
    (True, 0.6)

    Raises:
        ScenarioError: there is no such measure, a limit is not within 0 to 100, or it is the other measure's.
    """
    if measure not in _MEASURES:
        raise unknown("measure", measure, _MEASURES)
    if measure == "success":
        if points is not None:
            raise ScenarioError("points: got them for success, which is held against a level; give that.")
        return BreakdownCriterion(measure, _share("level", LEVEL if level is None else level))
    if level is not None:
        raise ScenarioError(f"level: got one for {measure}, whose loss is counted in points; give those.")
    return BreakdownCriterion(measure, _share("points", POINTS if points is None else points))


def _share(name: str, percent: float) -> float:
    if not 0 < percent <= 100:
        raise ScenarioError(f"{name}: got {percent:g}, wanted more than 0 and at most 100.")
    return percent / 100


Key = TypeVar("Key")
Verdicts = Mapping[int, bool]
"""By count, whether it broke what was tried with it."""


def smallest_breaking(verdicts: Verdicts) -> int | None:
    """Return the smallest count that broke; None where none did."""
    return min((count for count, broke in verdicts.items() if broke), default=None)


def held_above(verdicts: Verdicts) -> list[int]:
    """Return the counts that held although a smaller one broke: where there are any, more is not worse.

    >>> held_above({0: False, 2: True, 4: False, 6: True})
    [4]
    """
    first = smallest_breaking(verdicts)
    return (
        [] if first is None else sorted(count for count in verdicts if count > first and not verdicts[count])
    )


def next_counts(grid: Sequence[int], verdicts: Verdicts) -> list[int]:
    """Return the counts to try next: first the grid, then one by one the middle of the gap that is left.

    The gap lies between the smallest count that broke and the largest below it that held. Nothing is left
    once they are neighbours, or if nothing broke.

    >>> next_counts([0, 4, 8], {}), next_counts([0, 4, 8], {0: False, 4: False, 8: True})
    ([0, 4, 8], [6])
    """
    if not verdicts:
        return list(grid)
    first = smallest_breaking(verdicts)
    if first is None:
        return []
    held = max((count for count in verdicts if count < first), default=first)
    return [(held + first) // 2] if first - held > 1 else []


def find_thresholds(
    grids: Mapping[Key, Sequence[int]],
    play: Callable[[Sequence[tuple[Key, int]]], Mapping[tuple[Key, int], bool]],
) -> dict[Key, dict[int, bool]]:
    """Return the verdicts by which the smallest count that breaks is found for every key.

    After its grid a key costs at most log2 of the widest gap in it, rounded up.

    Args:
        grids: for each key the counts to try first.
        play: tries what one step of all keys asks for, together, and tells what broke.
    """
    verdicts: dict[Key, dict[int, bool]] = {key: {} for key in grids}
    while asked := [(key, count) for key in grids for count in next_counts(grids[key], verdicts[key])]:
        for (key, count), broke in play(asked).items():
            verdicts[key][count] = broke
    return verdicts


@dataclass(frozen=True)
class Pair:
    """An attack against a strategy."""

    attack: str
    strategy: str


@dataclass(frozen=True)
class Point:
    """What a number of malicious clients does, with each seed."""

    count: int
    measured: tuple[float, ...]
    """NaN where the run had to stop."""
    costs: tuple[float, ...]
    """What is held against the limit, likewise."""
    broke: bool
    stopped: str | None = None
    """Why the strategy could not finish a run, where that was so: then the count broke it."""


@dataclass(frozen=True)
class Curve:
    """How an attack fares against a strategy as the number of malicious clients grows."""

    pair: Pair
    points: Sequence[Point]
    """Ascending, the clean runs first."""
    undefined: int | None = None
    """The smallest number of malicious clients for which the strategy is not defined, within the search."""
    reason: str | None = None
    """Why it is not."""

    @property
    def breaking_point(self) -> Point | None:
        """The smallest number that broke the strategy; None where none did."""
        first = smallest_breaking(self._verdicts)
        return next((point for point in self.points if point.count == first), None)

    @property
    def last_held(self) -> Point | None:
        """The largest number below it that held; None where not even the clean runs did."""
        below = [
            point
            for point in self.points
            if self.breaking_point is None or point.count < self.breaking_point.count
        ]
        return below[-1] if below else None

    @property
    def held_above(self) -> list[int]:
        """The numbers that held although a smaller one broke the strategy, ascending."""
        return held_above(self._verdicts)

    @property
    def _verdicts(self) -> dict[int, bool]:
        return {point.count: point.broke for point in self.points}


@dataclass(frozen=True, eq=False)
class Breakdown:
    """The curves, and by what they were judged."""

    criterion: BreakdownCriterion
    clients: int
    seeds: Sequence[int]
    curves: Sequence[Curve]

    @property
    def attacks(self) -> list[str]:
        return list(dict.fromkeys(curve.pair.attack for curve in self.curves))

    def points(self) -> pd.DataFrame:
        """Return one row an attack, strategy, number of malicious clients and seed.

        `value` is what was measured and `cost` what was held against the limit, both NaN where the run had to
        stop; `broke` is the verdict on all seeds together.
        """
        rows = [
            {
                "attack": curve.pair.attack,
                "strategy": curve.pair.strategy,
                "malicious": point.count,
                "share": point.count / self.clients,
                "seed": seed,
                "value": value,
                "cost": cost,
                "broke": point.broke,
                "stopped": point.stopped,
            }
            for curve in self.curves
            for point in curve.points
            for seed, value, cost in zip(self.seeds, point.measured, point.costs, strict=True)
        ]
        return pd.DataFrame(rows)

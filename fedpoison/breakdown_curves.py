"""What a search for breakdowns finds: for every attack and strategy, what each malicious share costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fedpoison.bisection import held_above, smallest_broken
from fedpoison.criterion import Criterion


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
    def breaks(self) -> Point | None:
        """The smallest number that broke the strategy; None where none did."""
        first = smallest_broken(self._verdicts)
        return next((point for point in self.points if point.count == first), None)

    @property
    def held(self) -> Point | None:
        """The largest number below it that held; None where not even the clean runs did."""
        below = [point for point in self.points if self.breaks is None or point.count < self.breaks.count]
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

    judge: Criterion
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

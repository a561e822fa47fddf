"""Result of a search for breakdown points: the criterion and the curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import pandas as pd

from fedpoison.errors import RunError, ScenarioError, unknown
from fedpoison.results.defects import Defects, pair_notes
from fedpoison.results.display import Displayed
from fedpoison.results.round import Round
from fedpoison.results.run_frame import MEASURES, cross_table
from fedpoison.studies.bisection import held_above, smallest_breaking
from fedpoison.studies.breakdown_share import BreakdownShare, Outcome, fit_breakdown_share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 10.0
LEVEL = 50.0
_ROUNDING = 1e-9
"""Slack for rounding: 0.95 - 0.85 must reach a limit of 0.1."""
_MEASURES = {
    "accuracy": MEASURES["accuracy"],
    "worst-class": MEASURES["worst-class accuracy"],
    "success": MEASURES["attack success"],
}


@dataclass(frozen=True)
class BreakdownCriterion:
    """Measure after the last round, and the limit that breaks a strategy.

    Create one with `criterion`.
    """

    measure: str
    limit: float
    """Share of lost accuracy, or success rate, that breaks a strategy."""

    @property
    def lost(self) -> bool:
        """Whether the cost is the loss against the clean run; otherwise the measure itself."""
        return self.measure != "success"

    @property
    def description(self) -> str:
        """Effect of a share that breaks a strategy."""
        limit = f"{100 * self.limit:g}"
        return {
            "accuracy": f"costs {limit} points of accuracy",
            "worst-class": f"costs {limit} points of the worst class's accuracy",
            "success": f"lets the attack succeed in {limit} %",
        }[self.measure]

    @property
    def axis_title(self) -> str:
        """Cost as the title of an axis."""
        return {
            "accuracy": "accuracy lost, points",
            "worst-class": "worst-class accuracy lost, points",
            "success": "attack success, %",
        }[self.measure]

    def value(self, record: Round) -> float:
        """Return the measure of a run; NaN without one."""
        found = getattr(record, _MEASURES[self.measure])
        return float("nan") if found is None else found

    def cost(self, value: float, clean: float) -> float:
        """Return the cost to compare with the limit, given the measures of the run and of its clean run."""
        return clean - value if self.lost else value

    def is_broken(self, costs: Sequence[float]) -> bool:
        """Return whether the mean of the costs reaches the limit."""
        return fmean(costs) >= self.limit - _ROUNDING


def criterion(measure: str, *, points: float | None = None, level: float | None = None) -> BreakdownCriterion:
    """Return the criterion of that measure: `accuracy`, `worst-class` or `success`.

    Args:
        measure: Accuracy on all classes, accuracy of the worst class, or success of the attack.
        points: Lost percentage points that break a strategy, for the two accuracies. Default: 10.
        level: Success in per cent that breaks a strategy. Default: 50.

    >>> criterion("accuracy").is_broken([0.15, 0.05]), criterion("success", level=60).limit
    (True, 0.6)

    Raises:
        ScenarioError: No measure has the name, or a limit is not within 0 to 100 or of another measure.
    """
    if measure not in _MEASURES:
        raise unknown("measure", measure, _MEASURES)
    if measure == "success":
        if points is not None:
            raise ScenarioError("points: got a value for success, expected none; give a level.")
        return BreakdownCriterion(measure, _share("level", LEVEL if level is None else level))
    if level is not None:
        raise ScenarioError(f"level: got a value for {measure}, expected none; give points.")
    return BreakdownCriterion(measure, _share("points", POINTS if points is None else points))


def _share(name: str, percent: float) -> float:
    if not 0 < percent <= 100:
        raise ScenarioError(f"{name}: got {percent:g}, expected more than 0 and at most 100.")
    return percent / 100


@dataclass(frozen=True)
class Pair:
    """An attack against a strategy."""

    attack: str
    strategy: str


@dataclass(frozen=True)
class Point:
    """Effect of a number of malicious clients, per seed."""

    count: int
    measured: tuple[float, ...]
    """Measure per seed; NaN if the run stopped."""
    costs: tuple[float, ...]
    """Cost per seed; NaN if the run stopped."""
    broke: bool
    stopped: str | None = None
    """Reason if the strategy stopped a run, or never aggregated, which counts as broken."""
    no_result: str | None = None
    """Reason if a clean run is no result, so that there is nothing to compare with."""
    defects: tuple[Defects, ...] = ()
    """Defects of the runs per seed. Empty: not known."""


@dataclass(frozen=True)
class Curve:
    """Cost of an attack against a strategy by the number of malicious clients."""

    pair: Pair
    points: Sequence[Point]
    """In ascending order, clean runs first."""
    undefined: int | None = None
    """Smallest number of malicious clients in the search for which the strategy is undefined."""
    reason: str | None = None
    """Reason why the strategy is undefined there."""

    @property
    def breaking_point(self) -> Point | None:
        """Smallest number that broke the strategy; None without one."""
        first = smallest_breaking(self._verdicts)
        return next((point for point in self.points if point.count == first), None)

    @property
    def last_held(self) -> Point | None:
        """Largest number below the breaking point that held; None if even the clean runs broke."""
        first = smallest_breaking(self._verdicts)
        below = [point for point in self.points if first is None or point.count < first]
        return below[-1] if below else None

    @property
    def no_result(self) -> str | None:
        """Reason why the curve is no result, so that nothing is known about the strategy. None: it is one."""
        return next((point.no_result for point in self.points if point.no_result is not None), None)

    @property
    def defects(self) -> Defects:
        """Defects of all runs of the curve."""
        return Defects.sum(defects for point in self.points for defects in point.defects)

    @property
    def held_above(self) -> list[int]:
        """Numbers that held although a smaller number broke the strategy, ascending."""
        return held_above(self._verdicts)

    @property
    def _verdicts(self) -> dict[int, bool]:
        return {point.count: point.broke for point in self.points}


@dataclass(frozen=True, eq=False, repr=False)
class Breakdown(Displayed):
    """Curves of a search, and their criterion."""

    criterion: BreakdownCriterion
    clients: int
    seeds: Sequence[int]
    curves: Sequence[Curve]

    @property
    def attacks(self) -> list[str]:
        return list(dict.fromkeys(curve.pair.attack for curve in self.curves))

    @property
    def threshold(self) -> float | None:
        """Smallest share of malicious clients that broke the strategy. None: no share of the search did.

        Raises:
            ScenarioError: The search has more than one attack and strategy; see `thresholds`.
            RunError: The search has no result.
        """
        if len(self.curves) != 1:
            raise ScenarioError(f"threshold: got {len(self.curves)} pairs, expected one; use thresholds().")
        if self.curves[0].no_result is not None:
            raise RunError(f"threshold: no result: {self.curves[0].no_result}.")
        point = self.curves[0].breaking_point
        return None if point is None else point.count / self.clients

    def fitted(self, curve: Curve) -> BreakdownShare | None:
        """Return the share at which half of the seeds break the strategy, with its interval over the seeds.

        A share for which the strategy is undefined, or with which it stopped, breaks it with every seed.
        None: the curve is no result.
        """
        if curve.no_result is not None:
            return None
        outcomes = [
            Outcome(
                point.count / self.clients,
                seed,
                point.stopped is None and not self.criterion.is_broken([cost]),
            )
            for point in curve.points
            for seed, cost in zip(self.seeds, point.costs, strict=True)
        ]
        if curve.undefined is not None:
            outcomes += [Outcome(curve.undefined / self.clients, seed, held=False) for seed in self.seeds]
        return fit_breakdown_share(outcomes)

    def thresholds(self) -> pd.DataFrame:
        """Return the smallest share that broke each strategy (columns) under each attack (rows).

        NaN: no share of the search broke it, or the search has no result, as `remarks` reports.
        """
        points = [curve.breaking_point for curve in self.curves]
        columns = {
            "attack": [curve.pair.attack for curve in self.curves],
            "strategy": [curve.pair.strategy for curve in self.curves],
            "share": [math.nan if point is None else point.count / self.clients for point in points],
        }
        frame = pd.DataFrame(columns)
        return cross_table(frame, "share", "attack", "strategy")

    @property
    def headline(self) -> str:
        """Criterion, and the size of the search."""
        return (
            f"smallest malicious share that {self.criterion.description}, of {self.clients} clients, "
            f"{len(self.seeds)} {'seed' if len(self.seeds) == 1 else 'seeds'} "
            f"(NaN: none{', or no result' if self._without_result else ''})"
        )

    @property
    def _without_result(self) -> bool:
        return any(curve.no_result is not None for curve in self.curves)

    @property
    def remarks(self) -> list[str]:
        """One line per defect of the runs, with their attacks and strategies."""
        return pair_notes({(curve.pair.attack, curve.pair.strategy): curve.defects for curve in self.curves})

    def shown_frame(self) -> pd.DataFrame:
        """Return `thresholds`."""
        return self.thresholds()

    def plot(self) -> Figure:
        """Draw the cost by the malicious share, with a panel per attack and a line per strategy."""
        from fedpoison.studies.figures import breakdown_curves  # noqa: PLC0415  # matplotlib takes a second to import

        return breakdown_curves(self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per attack, strategy, number of malicious clients and seed.

        `value` is the measure and `cost` is compared with the limit. Both are NaN if the run stopped. `broke`
        is the verdict on all seeds together. `unusable`, `unchanged`, `no_result` and `notes` describe the
        defects of the run (`Defects.columns`); `no_result` also has the defect of the clean run.
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
                **defects.columns(),
                "no_result": point.no_result or "",
            }
            for curve in self.curves
            for point in curve.points
            for seed, value, cost, defects in zip(
                self.seeds,
                point.measured,
                point.costs,
                point.defects or [Defects()] * len(self.seeds),
                strict=True,
            )
        ]
        return pd.DataFrame(rows)

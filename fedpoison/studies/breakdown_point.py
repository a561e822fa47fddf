"""Breakdown point of a strategy: the smallest malicious share that exceeds a limit."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.results.defects import Defects
from fedpoison.results.round import Failure
from fedpoison.scenario.fields import About, changed
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchOptions, BatchResult, RunResult, batch_runner
from fedpoison.studies.bisection import find_thresholds
from fedpoison.studies.breakdown_result import (
    Breakdown,
    BreakdownCriterion,
    Curve,
    Pair,
    Point,
)

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Coarse grid of malicious shares."""


def breakdown(
    base: Scenario,
    attacks: Sequence[str],
    strategies: Sequence[str],
    *,
    criterion: BreakdownCriterion,
    shares: Sequence[float] = SHARES,
    seeds: Sequence[int],
    on_planned: Callable[[int], None] = lambda _: None,
    **options: Unpack[BatchOptions],
) -> Breakdown:
    """Find for every attack and strategy the smallest malicious share that breaks the strategy.

    The search runs a coarse grid of shares first. Then it bisects, down to a single client, between the first
    share that broke the strategy and the largest smaller share that did not. The mean over the seeds decides.
    The malicious clients of a share are also malicious at every larger share. Unless the scenario sets
    `tolerated`, the strategy gets the true number, and the search ends where the strategy is undefined.

    Args:
        base: Scenario whose attack, strategy, seed and malicious share are varied.
        attacks: Specs of attacks.
        strategies: Specs of strategies.
        criterion: Limit that a share must exceed to break a strategy.
        shares: Coarse grid; the search ends at its largest share.
        seeds: Seeds, the same for every cell.
        on_planned: Called before each step with its number of runs.
        options: See `BatchOptions`.

    Raises:
        ScenarioError: A cell cannot run even without malicious clients, the success of an attack cannot be
            measured with one of the seeds, or a share is invalid.
        DataError: The data set is not available.
        RunError: A clean run stopped, or another run stopped for a reason other than its strategy.
        EngineError: Ray is not available.
    """
    _check(base, shares)
    goals = {
        attack: _goal(base.replace(attack=attack), criterion, options.get("data_dir")) for attack in attacks
    }
    pairs = [Pair(attack, strategy) for attack in attacks for strategy in strategies]
    counts = sorted({0} | {round(share * base.clients) for share in shares})
    limits = {pair: _first_undefined(_attacked(base, pair, 0), counts[-1]) for pair in pairs}
    with batch_runner(**options) as run:
        trials = _BreakdownRuns(base, criterion, seeds, goals, run, on_planned)
        find_thresholds({pair: _defined(counts, limits[pair]) for pair in pairs}, trials.run_counts)
    curves = [
        Curve(pair, [point for _, point in sorted(trials.points[pair].items())], *(limits[pair] or ()))
        for pair in pairs
    ]
    return Breakdown(criterion, base.clients, seeds, curves)


@dataclass(frozen=True, eq=False)
class _BreakdownRuns:
    """Runs of a search, and their results."""

    base: Scenario
    criterion: BreakdownCriterion
    seeds: Sequence[int]
    goals: Mapping[str, str | None]
    run: Callable[[Sequence[Scenario]], BatchResult]
    on_planned: Callable[[int], None]
    ends: dict[Scenario, RunResult] = field(default_factory=dict)
    """History of each run, or its failure."""
    points: dict[Pair, dict[int, Point]] = field(default_factory=dict)

    def run_counts(self, asked: Sequence[tuple[Pair, int]]) -> dict[tuple[Pair, int], bool]:
        """Run these numbers of malicious clients, and return which of them broke their strategy."""
        scenarios = list(dict.fromkeys(run for pair, count in asked for run in self._runs(pair, count)))
        self.on_planned(len(scenarios))
        batch = self.run(scenarios)
        batch.check(ignore=[run for run in batch.aggregation_failed if run.malicious])
        self.ends.update(batch.histories)
        self.ends.update(batch.failures)
        for pair, count in asked:
            self.points.setdefault(pair, {})[count] = self._point(pair, count)
        return {(pair, count): self.points[pair][count].broke for pair, count in asked}

    def _runs(self, pair: Pair, count: int) -> list[Scenario]:
        """Return one run per seed with this number of malicious clients; clean runs for 0."""
        attacked = [_attacked(self.base, pair, count).replace(seed=seed) for seed in self.seeds]
        return attacked if count else [run.without_attack(self.goals[pair.attack]) for run in attacked]

    def _point(self, pair: Pair, count: int) -> Point:
        ends = [self.ends[run] for run in self._runs(pair, count)]
        clean_runs = [self.ends[run] for run in self._runs(pair, 0)]
        measured = tuple(self._value(end) for end in ends)
        costs = tuple(
            self.criterion.cost(value, self._value(clean_run))
            for value, clean_run in zip(measured, clean_runs, strict=True)
        )
        no_result = next((reason for run in clean_runs for reason in _defects(run).no_result), None)
        stopped = next((reason for end in ends if (reason := _stop(end)) is not None), None)
        blind = [seed for seed, cost in zip(self.seeds, costs, strict=True) if math.isnan(cost)]
        if stopped is None and blind:
            raise ScenarioError(
                f"{pair.attack}: no success is measured with seed {blind[0]}, which has no test image of the "
                "attacked class; use more test images, or omit the seed."
            )
        defects = tuple(_defects(end) for end in ends)
        if no_result is not None:
            return Point(count, measured, costs, broke=False, no_result=no_result, defects=defects)
        broke = stopped is not None or self.criterion.is_broken(costs)
        return Point(count, measured, costs, broke, stopped, defects=defects)

    def _value(self, end: RunResult) -> float:
        return float("nan") if isinstance(end, Failure) else self.criterion.value(end.last)


def _stop(end: RunResult) -> str | None:
    """Return why the strategy stopped an attacked run or never aggregated in it. None: it did aggregate."""
    if isinstance(end, Failure):
        return end.reason
    return next(iter(end.defects.no_result), None)


def _defects(end: RunResult) -> Defects:
    return Defects() if isinstance(end, Failure) else end.defects


def _check(base: Scenario, shares: Sequence[float]) -> None:
    varied = [name for name in changed(base, About.MALICIOUS) if name != "malicious"]
    if varied:
        raise ScenarioError(
            f"{', '.join(varied)}: a search for the breakdown varies the malicious share; omit it."
        )
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ScenarioError(f"shares: got {list(shares)}, expected numbers above 0 and at most 1.")
    if not round(max(shares) * base.clients):
        raise ScenarioError(
            f"shares: got {list(shares)}, all less than 1 of {base.clients} clients; use a larger share."
        )


def _attacked(base: Scenario, pair: Pair, count: int) -> Scenario:
    return base.replace(attack=pair.attack, strategy=pair.strategy, malicious=count / base.clients)


def _goal(attacked: Scenario, criterion: BreakdownCriterion, data_dir: str | Path | None) -> str | None:
    """Return the attack whose success is measured; None if the criterion is not success."""
    if criterion.measure != "success":
        return None
    goal = Federation.load(attacked, data_dir=data_dir).goal_attack
    if goal is None:
        raise ScenarioError(
            f"{attacked.attack} has no target, so its success cannot be measured; choose an attack with a "
            "target, such as backdoor, or measure the accuracy."
        )
    return goal


def _first_undefined(clean_one: Scenario, end: int) -> tuple[int, str] | None:
    """Return the smallest number of malicious clients, up to `end`, for which the strategy is undefined.

    A strategy that is undefined for some number is undefined for every larger number.
    """

    def reason(count: int) -> str | None:
        try:
            clean_one.replace(malicious=count / clean_one.clients)
        except ScenarioError as error:
            return str(error)
        return None

    first = bisect_left(range(end + 1), x=True, key=lambda count: reason(count) is not None)
    why = reason(first) if first <= end else None
    return None if why is None else (first, why)


def _defined(counts: Sequence[int], limit: tuple[int, str] | None) -> list[int]:
    """Return the counts below the limit, with the largest of these."""
    if limit is None:
        return list(counts)
    first, _ = limit
    return sorted({first - 1, *(count for count in counts if count < first)})

"""The breakdown of a strategy: the smallest malicious share that costs more than it may."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.results.round import Failure, Round
from fedpoison.scenario.fields import About, changed
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchOptions, BatchResult, batch_runner
from fedpoison.studies.breakdown_result import (
    Breakdown,
    BreakdownCriterion,
    Curve,
    Pair,
    Point,
    find_thresholds,
)

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""The coarse grid."""


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

    A coarse grid of shares comes first; then bisection, to the single client, between the first share that
    broke and the largest below it that held. The mean over the seeds decides. The malicious clients of a
    share are among those of every larger one. Unless the scenario says how many malicious clients the
    strategy tolerates, it is always told the true number, and is searched as far as it is defined.

    Args:
        base: the scenario whose attack, strategy, seed and malicious share are varied.
        attacks: specs of attacks.
        strategies: specs of strategies.
        criterion: when a share counts as breaking a strategy.
        shares: the coarse grid; the search ends at its largest.
        seeds: seeds, the same for every cell.
        on_planned: told, before each step, how many runs it takes.
        options: see `BatchOptions`.

    Raises:
        ScenarioError: a cell cannot be run even without malicious clients, an attack has no success to be
            measured, be it with one of the seeds, or a share is none.
        DataError: the data set cannot be had.
        RunError: a clean run had to stop, or another one for a reason that is not its strategy's.
        EngineError: Ray cannot be had.
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
    return Breakdown(criterion, base.clients, seeds, [_curve(pair, limits[pair], trials) for pair in pairs])


@dataclass(frozen=True, eq=False)
class _BreakdownRuns:
    """The runs that a search makes, and what came of them."""

    base: Scenario
    criterion: BreakdownCriterion
    seeds: Sequence[int]
    goals: Mapping[str, str | None]
    run: Callable[[Sequence[Scenario]], BatchResult]
    on_planned: Callable[[int], None]
    ends: dict[Scenario, Round | Failure] = field(default_factory=dict)
    """The last round of each run, or why it had to stop."""
    points: dict[Pair, dict[int, Point]] = field(default_factory=dict)

    def run_counts(self, asked: Sequence[tuple[Pair, int]]) -> dict[tuple[Pair, int], bool]:
        """Make the runs for these numbers of malicious clients, and return which broke their strategy."""
        scenarios = list(dict.fromkeys(run for pair, count in asked for run in self._runs(pair, count)))
        self.on_planned(len(scenarios))
        batch = self.run(scenarios)
        batch.check(ignore=[run for run in batch.aggregation_failed if run.malicious])
        self.ends.update({run: history.last for run, history in batch.histories.items()})
        self.ends.update(batch.failures)
        for pair, count in asked:
            self.points.setdefault(pair, {})[count] = self._point(pair, count)
        return {(pair, count): self.points[pair][count].broke for pair, count in asked}

    def _runs(self, pair: Pair, count: int) -> list[Scenario]:
        """Return the runs with this number of malicious clients, one a seed; without any, clean ones."""
        attacked = [_attacked(self.base, pair, count).replace(seed=seed) for seed in self.seeds]
        return attacked if count else [run.without_attack(self.goals[pair.attack]) for run in attacked]

    def _point(self, pair: Pair, count: int) -> Point:
        ends = [self.ends[run] for run in self._runs(pair, count)]
        measured = tuple(self._value(end) for end in ends)
        clean_runs = [self._value(self.ends[run]) for run in self._runs(pair, 0)]
        costs = tuple(
            self.criterion.cost(value, clean_run)
            for value, clean_run in zip(measured, clean_runs, strict=True)
        )
        stopped = next((end.reason for end in ends if isinstance(end, Failure)), None)
        blind = [seed for seed, cost in zip(self.seeds, costs, strict=True) if math.isnan(cost)]
        if stopped is None and blind:
            raise ScenarioError(
                f"{pair.attack}: no success is measured with seed {blind[0]}, which has no test image of the "
                "class that it is after; test on more images, or leave the seed out."
            )
        broke = stopped is not None or self.criterion.is_broken(costs)
        return Point(count, measured, costs, broke, stopped)

    def _value(self, end: Round | Failure) -> float:
        return float("nan") if isinstance(end, Failure) else self.criterion.value(end)


def _check(base: Scenario, shares: Sequence[float]) -> None:
    said = [name for name in changed(base, About.MALICIOUS) if name != "malicious"]
    if said:
        raise ScenarioError(
            f"{', '.join(said)}: a search for the breakdown varies the share that is malicious; leave it out."
        )
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ScenarioError(f"shares: got {list(shares)}, wanted numbers above 0 and at most 1.")
    if not round(max(shares) * base.clients):
        raise ScenarioError(f"shares: got {list(shares)}, none of which is a client of {base.clients}.")


def _attacked(base: Scenario, pair: Pair, count: int) -> Scenario:
    return base.replace(attack=pair.attack, strategy=pair.strategy, malicious=count / base.clients)


def _goal(attacked: Scenario, criterion: BreakdownCriterion, data_dir: Path | None) -> str | None:
    """Return the attack whose success is measured; None where success does not matter."""
    if criterion.measure != "success":
        return None
    goal = Federation.load(attacked, data_dir=data_dir).goal_attack
    if goal is None:
        raise ScenarioError(
            f"{attacked.attack} has no target, so that no success can be measured; name one that has, such "
            "as backdoor, or measure the accuracy."
        )
    return goal


def _first_undefined(clean_one: Scenario, end: int) -> tuple[int, str] | None:
    """Return the smallest number of malicious clients, up to `end`, that the strategy is not defined for.

    A strategy that is not defined for some number is not for any larger one.
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
    """Return the counts below the limit, and the last one there is."""
    if limit is None:
        return list(counts)
    first, _ = limit
    return sorted({first - 1, *(count for count in counts if count < first)})


def _curve(pair: Pair, limit: tuple[int, str] | None, trials: _BreakdownRuns) -> Curve:
    points = sorted(trials.points[pair].values(), key=lambda point: point.count)
    first, why = limit or (None, None)
    return Curve(pair, points, first, why)

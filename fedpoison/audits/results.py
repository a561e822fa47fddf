"""The reported runs of an audit: the strongest attacks, and the strategy and FedAvg without an attack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fedpoison.audits.protocol import Budget
from fedpoison.audits.setting import AuditSetting, Case
from fedpoison.audits.tuning import RunBatch, Trial, finalists
from fedpoison.errors import RunError
from fedpoison.results.history import History
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchResult


@dataclass(frozen=True, eq=False)
class CaseRuns:
    """Runs of one tuned attack with every reported seed."""

    case: Case
    trial: Trial
    """Trial of tuning that chose the attack."""
    scenarios: Sequence[Scenario]
    histories: Mapping[int, History]
    """Complete runs, by seed."""
    stopped: Sequence[int]
    """Seeds with which the attack stopped the strategy."""


@dataclass(frozen=True, eq=False)
class CleanRuns:
    """Runs without an attack with every reported seed."""

    partition: str
    share: float
    """Malicious share that the strategy is configured for."""
    goal: str | None
    """Attack whose success is measured."""
    scenarios: Sequence[Scenario]
    histories: Mapping[int, History]


@dataclass(frozen=True, eq=False)
class Results:
    """All reported runs of an audit."""

    attacked: Sequence[CaseRuns]
    clean: Sequence[CleanRuns]
    undefended: Mapping[str, CleanRuns]
    """FedAvg without an attack, by partition."""
    failed: Mapping[str, str]
    """Reason by attack of runs that failed other than by a stopped strategy."""

    def clean_runs(self, case: Case, goal: str | None = None) -> CleanRuns:
        """Return the runs without an attack that a case compares to, with the goal if it is measured."""
        fitting = [
            runs for runs in self.clean if (runs.partition, runs.share) == (case.partition, case.share)
        ]
        return next((runs for runs in fitting if runs.goal == goal), fitting[0])


def report(setting: AuditSetting, budget: Budget, trials: Iterable[Trial], run: RunBatch) -> Results:
    """Run the strongest attacks of tuning on the reported seeds, next to runs without an attack.

    Raises:
        RunError: the strategy, or FedAvg, stopped without an attack.
    """
    seeds, trials = setting.protocol.seeds(budget), list(trials)
    attacked: list[CaseRuns] = []
    clean: list[CleanRuns] = []
    for share in setting.shares:
        for partition in setting.protocol.partitions:
            strongest = finalists(setting, budget, trials, partition, share)
            for trial in strongest:
                case = replace(trial.case, share=share)
                scenarios = [setting.scenario(case, seed) for seed in seeds]
                attacked.append(CaseRuns(case, trial, scenarios, {}, ()))
            measured = (setting.goal(trial.case) for trial in strongest)
            goals: list[str | None] = [goal for goal in dict.fromkeys(measured) if goal is not None]
            for goal in goals or [None]:
                scenarios = [setting.clean(partition, share, seed, goal) for seed in seeds]
                clean.append(CleanRuns(partition, share, goal, scenarios, {}))
    undefended = {
        partition: CleanRuns(
            partition,
            setting.headline_share,
            None,
            [setting.undefended(partition, seed) for seed in seeds],
            {},
        )
        for partition in setting.protocol.partitions
    }
    parts: list[CaseRuns | CleanRuns] = [*attacked, *clean, *undefended.values()]
    batch = run([scenario for part in parts for scenario in part.scenarios])
    failed: dict[str, str] = {}
    complete = [runs for attempted in attacked if (runs := _complete(attempted, batch, failed)) is not None]
    return Results(
        complete,
        [_clean(runs, batch) for runs in clean],
        {partition: _clean(runs, batch) for partition, runs in undefended.items()},
        failed,
    )


def _complete(runs: CaseRuns, batch: BatchResult, failed: dict[str, str]) -> CaseRuns | None:
    """Return the runs with their results; None, and the reason in `failed`, if one has no result."""
    stopped = []
    for scenario in runs.scenarios:
        failure = batch.failures.get(scenario)
        if failure is not None and not failure.aggregation_failed:
            failed[scenario.attack] = failure.reason
            return None
        if failure is not None:
            stopped.append(scenario.seed)
    return replace(runs, histories=_histories(runs.scenarios, batch), stopped=stopped)


def _clean(runs: CleanRuns, batch: BatchResult) -> CleanRuns:
    for scenario in runs.scenarios:
        if scenario in batch.failures:
            raise RunError(
                f"{scenario.strategy} without an attack, seed {scenario.seed}: "
                f"{batch.failures[scenario].reason}"
            )
    return replace(runs, histories=_histories(runs.scenarios, batch))


def _histories(scenarios: Iterable[Scenario], batch: BatchResult) -> dict[int, History]:
    return {scenario.seed: batch.histories[scenario] for scenario in scenarios if scenario in batch.histories}

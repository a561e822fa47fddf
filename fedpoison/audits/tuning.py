"""Tuning: find the strength of each attack that harms this strategy most, on the validation set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from fedpoison.audits.protocol import THREATS, Budget, Strength, Threat
from fedpoison.audits.setting import AuditSetting, Case
from fedpoison.results.history import History
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchResult

RunBatch = Callable[[Sequence[Scenario]], BatchResult]


@dataclass(frozen=True)
class Trial:
    """Result of one case of tuning."""

    case: Case
    harm: float | None
    """Mean harm on the validation set over the tuning seeds. None: a run failed."""
    stopped: bool = False
    """Whether the attack stopped the strategy with any seed."""
    reason: str | None = None
    """Reason why a run failed."""

    @property
    def is_default(self) -> bool:
        """Whether the attack has its default strength and knowledge."""
        return self.case.strength == self.case.attack.tries[0] and self.case.knowledge is None


def harm(threat: Threat, history: History) -> float:
    """Return the harm of an attack on the validation set, a share that is larger for more harm.

    Untargeted: 1 minus the accuracy. Targeted and backdoor: the success of the attack.
    """
    found = history.last.split("validation")
    return 1 - found.accuracy if threat == "untargeted" else found.success or 0.0


def tune(setting: AuditSetting, budget: Budget, run: RunBatch) -> list[Trial]:
    """Run every attack with every strength on the tuning seeds, and refine the strongest of each threat."""
    places = [
        (partition, share)
        for share in tuned_shares(setting, budget)
        for partition in setting.protocol.partitions
    ]
    cases = [
        Case(attack, strength, partition, share)
        for partition, share in places
        for attack in setting.attacks
        for strength in attack.tries
    ]
    trials = list(_try(setting, budget, cases, run))
    for step in range(budget.refinements + 1):
        found = [
            strongest
            for place in places
            for threat in THREATS
            if (strongest := _strongest_number(trials, threat, *place)) is not None
        ]
        known = {trial.case for trial in trials}
        if step < budget.refinements:
            more = [
                replace(trial.case, strength=strength)
                for trial in found
                for strength in between(trial, trials)
            ]
        else:
            more = list(_with_less_knowledge(trials))
        trials += _try(setting, budget, [case for case in dict.fromkeys(more) if case not in known], run)
    return trials


def tuned_shares(setting: AuditSetting, budget: Budget) -> list[float]:
    """Return the malicious shares at which strengths are tuned and the strategy is defined."""
    shares = [share for share in budget.tuned_shares if share in setting.shares]
    return shares or [setting.headline_share]


def finalists(
    setting: AuditSetting, budget: Budget, trials: Iterable[Trial], partition: str, share: float
) -> list[Trial]:
    """Return the strongest trials of each threat, whose attacks run with this share on the test set.

    The first one is the strongest. The next ones are the strongest of other families, since attacks of one
    family often succeed or fail together.
    """
    nearest = min(tuned_shares(setting, budget), key=lambda tuned: (abs(tuned - share), tuned))
    chosen: list[Trial] = []
    for threat in THREATS:
        ranked = ranking(trials, threat, partition, nearest)
        first = {trial.case.attack.family: trial for trial in reversed(ranked)}
        diverse = [trial for trial in ranked if first[trial.case.attack.family] is trial]
        others = [trial for trial in ranked if trial not in diverse]
        chosen += [*diverse, *others][: budget.finalists[threat]]
    return chosen


def ranking(trials: Iterable[Trial], threat: Threat, partition: str, share: float) -> list[Trial]:
    """Return the strongest trial of each attack, most harm first."""
    best: dict[object, Trial] = {}
    for trial in trials:
        case = trial.case
        if trial.harm is None or (case.attack.threat, case.partition, case.share) != (
            threat,
            partition,
            share,
        ):
            continue
        if case.attack not in best or trial.harm > _harm(best[case.attack]):
            best[case.attack] = trial
    return sorted(best.values(), key=lambda trial: -_harm(trial))


def between(trial: Trial, trials: Iterable[Trial]) -> Iterator[Strength]:
    """Yield numbers halfway between the strength of a trial and its tried neighbours.

    Numbers of one sign are halved on the logarithmic scale.
    """
    alike = [
        other.case for other in trials if replace(other.case, strength=trial.case.strength) == trial.case
    ]
    tried = sorted(case.strength for case in alike if isinstance(case.strength, float))
    here = trial.case.strength
    if not isinstance(here, float):
        return
    at = tried.index(here)
    for other in [*tried[max(0, at - 1) : at], *tried[at + 1 : at + 2]]:
        middle = math.copysign(math.sqrt(here * other), here) if here * other > 0 else (here + other) / 2
        yield float(f"{middle:.4g}")


def _strongest_number(trials: Iterable[Trial], threat: Threat, partition: str, share: float) -> Trial | None:
    """Return the strongest trial whose strength is a number."""
    ranked = ranking(trials, threat, partition, share)
    return next((trial for trial in ranked if isinstance(trial.case.strength, float)), None)


def _with_less_knowledge(trials: Sequence[Trial]) -> Iterator[Case]:
    """Yield the strongest case of each attack that the protocol also runs with less knowledge."""
    best: dict[object, Trial] = {}
    for trial in trials:
        key = trial.case.attack, trial.case.partition, trial.case.share
        if trial.harm is not None and (key not in best or trial.harm > _harm(best[key])):
            best[key] = trial
    for trial in best.values():
        if trial.case.attack.less_knowledge is not None:
            yield replace(trial.case, knowledge=trial.case.attack.less_knowledge)


def _try(setting: AuditSetting, budget: Budget, cases: Sequence[Case], run: RunBatch) -> Iterator[Trial]:
    """Yield the results of cases, which run together."""
    seeds = setting.protocol.tuning_seeds(budget)
    scenarios = {case: [setting.scenario(case, seed) for seed in seeds] for case in cases}
    batch = run([scenario for several in scenarios.values() for scenario in several])
    for case, several in scenarios.items():
        yield _trial(case, several, batch)


def _trial(case: Case, scenarios: Sequence[Scenario], batch: BatchResult) -> Trial:
    failures = [batch.failures[scenario] for scenario in scenarios if scenario in batch.failures]
    stopped = [failure for failure in failures if failure.aggregation_failed]
    if len(stopped) < len(failures):
        return Trial(case, None, reason=next(fail.reason for fail in failures if not fail.aggregation_failed))
    if stopped and case.attack.threat != "untargeted":  # a stopped server obeys no trigger
        return Trial(case, None, stopped=True, reason=stopped[0].reason)
    harms = [harm(case.attack.threat, batch.histories[each]) for each in scenarios if each in batch.histories]
    return Trial(case, fmean([*harms, *[1.0] * len(stopped)]), stopped=bool(stopped))


def _harm(trial: Trial) -> float:
    return -math.inf if trial.harm is None else trial.harm

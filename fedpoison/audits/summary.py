"""The card of an audit from its runs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from statistics import fmean

from clients.attacks.base import Attack
from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_parts import Attacked, Breakdown, ClassTreatment, Clean, Measured, Tried
from fedpoison.audits.cost import relative_memory, seconds_per_round
from fedpoison.audits.flags import find_flags
from fedpoison.audits.protocol import THREATS, Threat
from fedpoison.audits.results import CaseRuns, CleanRuns, Results
from fedpoison.audits.setting import VARIED, AuditSetting
from fedpoison.audits.treatment import false_rejection
from fedpoison.audits.tuning import Trial, ranking
from fedpoison.results.history import History, class_labels
from fedpoison.results.metrics import source_to_target_rate
from fedpoison.results.round import Round
from fedpoison.scenario.aggregation import FlowerStrategy
from fedpoison.scenario.registries import build_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.studies.breakdown_share import Outcome, fit_breakdown_share


def summarize(
    setting: AuditSetting, budget: str, trials: Sequence[Trial], results: Results, *, runs: int
) -> AuditCard:
    """Return the card.

    Args:
        setting: Protocol, strategy and data.
        budget: Name of the budget.
        trials: Results of tuning.
        results: Reported runs.
        runs: Number of all runs.
    """
    protocol, base, effort = setting.protocol, setting.base, setting.protocol.budget(budget)
    attacked = [_attacked(setting, runs, results) for runs in results.attacked]
    clean = _clean(setting, results)
    headline = [row for row in attacked if row.share == setting.headline_share]
    unharmed = [row for row in clean if row.share == setting.headline_share]
    everything: list[Attacked | Clean] = [*headline, *unharmed]
    broken = breakdown(setting, results)
    return AuditCard(
        strategy=str(base.strategy),
        protocol=protocol.name,
        budget=budget,
        headline_share=setting.headline_share,
        worst_accuracy=min(row.accuracy.mean for row in everything),
        worst_class_accuracy=min(row.worst_class_accuracy.mean for row in everything),
        backdoor_success=_highest(headline, "backdoor"),
        targeted_success=_highest(headline, "targeted"),
        clean_accuracy=min(row.accuracy.mean for row in unharmed),
        robustness_cost=max(row.cost.mean for row in unharmed if row.cost is not None),
        breakdown_share=broken.share,
        breakdown=broken,
        dataset=base.dataset_title,
        model=str(base.model),
        settings=scenario_settings(base),
        changed_settings=changed_settings(setting),
        protocol_digest=protocol.digest,
        version=version("fedpoison"),
        seeds=list(protocol.seeds(effort)),
        tuning_seeds=list(protocol.tuning_seeds(effort)),
        tries=len(trials),
        runs=runs,
        clean=clean,
        attacked=attacked,
        tried=list(_tried(setting, trials)),
        undefined={f"{share:g}": reason for share, reason in setting.undefined.items()},
        left_out=dict(setting.left_out),
        flags=find_flags(setting, effort, trials, results),
        classes=treatment(setting, results),
        seconds_per_round=seconds_per_round(setting),
        memory=_memory(setting),
    )


def breakdown(setting: AuditSetting, results: Results) -> Breakdown:
    """Return the share from which an attack on any partition costs more accuracy than the protocol allows.

    A share for which the strategy is not defined breaks it. A share of 0 does not.
    """
    broken: dict[tuple[float, int], bool] = {}
    for runs in results.attacked:
        clean = results.clean_runs(runs.case).histories
        for seed, lost in _lost(runs, clean).items():
            place = runs.case.share, seed
            broken[place] = broken.get(place, False) or lost > setting.protocol.broken
    for seed in dict.fromkeys(seed for _, seed in broken):
        broken[0.0, seed] = False
        broken |= {(share, seed): True for share in setting.undefined}
    found = fit_breakdown_share(Outcome(share, seed, not broke) for (share, seed), broke in broken.items())
    return Breakdown(
        share=found.share,
        low=found.low,
        high=found.high,
        text=found.text,
        islands=[(island.low, island.high) for island in found.islands],
    )


def treatment(setting: AuditSetting, results: Results) -> list[ClassTreatment]:
    """Return the false-rejection rate of each class on the last, most skewed partition of the protocol."""
    partition, share = list(setting.protocol.partitions)[-1], setting.headline_share
    here = [runs for runs in results.clean if (runs.partition, runs.share) == (partition, share)]
    rates = false_rejection(here[0].histories.values(), setting.dataset)
    if rates is None:
        return []
    attacked = [
        runs
        for runs in results.attacked
        if (runs.case.partition, runs.case.share, runs.case.attack.threat) == (partition, share, "untargeted")
    ]
    harmful = min(attacked, key=lambda runs: fmean(_accuracies(runs).values()), default=None)
    under = None if harmful is None else false_rejection(harmful.histories.values(), setting.dataset)
    labels = class_labels(setting.dataset.train.class_names, setting.classes)
    return [
        ClassTreatment(
            label=name,
            false_rejection=float(rates[0][label]),
            under_attack=None if under is None else float(under[0][label]),
            samples=float(rates[1][label]),
        )
        for label, name in enumerate(labels)
        if not math.isnan(rates[0][label])
    ]


def changed_settings(setting: AuditSetting) -> list[str]:
    """Return the fields of the scenario that differ from the protocol, without strategy and data set."""
    expected = setting.protocol.scenario()
    return [
        name
        for name in Scenario.model_fields
        if name not in (*VARIED, "strategy", "dataset")
        and getattr(setting.base, name) != getattr(expected, name)
    ]


def command(scenarios: Sequence[Scenario]) -> str:
    """Return the command that repeats runs which differ in their seeds only.

    >>> command([Scenario(attack="alie", strategy="krum", seed=seed) for seed in (3, 4)])
    'fedpoison compare --attacks alie --strategies krum --seeds 3,4'
    """
    first = scenarios[0]
    words = ["fedpoison", "compare", "--attacks", first.attack, "--strategies", first.strategy, "--seeds"]
    words.append(",".join(str(scenario.seed) for scenario in scenarios))
    for name, value in first.content().items():
        if name in ("attack", "strategy", "seed", "groups") or value == Scenario.model_fields[name].default:
            continue
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    return shlex.join(words)


def _attacked(setting: AuditSetting, runs: CaseRuns, results: Results) -> Attacked:
    case, first = runs.case, runs.scenarios[0]
    built: Attack = build_attack(first.attack)
    clean = results.clean_runs(case, setting.goal(case)).histories
    targeted = built.goal(setting.classes) is not None
    success = [runs.histories[seed].last.success or 0.0 if seed in runs.histories else 0.0 for seed in clean]
    unharmed = [_clean_success(built, history.last, setting.classes) for history in clean.values()]
    (group,) = first.attackers
    return Attacked(
        threat=case.attack.threat,
        partition=case.partition,
        share=case.share,
        attack=str(first.attack),
        family=case.attack.family,
        schedule=str(first.schedule),
        knowledge=group.effective_knowledge.value,
        knows_rule=built.card.knows_rule,
        tuned=not runs.trial.is_default,
        validation_harm=runs.trial.harm or 0.0,
        accuracy=Measured.of(list(_accuracies(runs).values())),
        worst_class_accuracy=Measured.of(
            [
                runs.histories[seed].last.worst_class_accuracy if seed in runs.histories else 0.0
                for seed in clean
            ]
        ),
        lost_accuracy=Measured.of(list(_lost(runs, clean).values())),
        success=Measured.of(success) if targeted else None,
        clean_success=Measured.of(unharmed) if targeted else None,
        stopped_seeds=list(runs.stopped),
        command=command(runs.scenarios),
    )


def _clean_success(attack: Attack, record: Round, classes: int) -> float:
    """Return the success of an attack in a run without it."""
    goal = attack.goal(classes)
    if goal is not None and goal.source is not None:
        return source_to_target_rate(record.counts, goal.source, goal.target)
    return record.success or 0.0


def _accuracies(runs: CaseRuns) -> dict[int, float]:
    """Return the accuracy by seed; 0 if the attack stopped the strategy."""
    return {
        scenario.seed: runs.histories[scenario.seed].last.accuracy if scenario.seed in runs.histories else 0.0
        for scenario in runs.scenarios
    }


def _lost(runs: CaseRuns, clean: Mapping[int, History]) -> dict[int, float]:
    """Return the accuracy that the attack costs by seed."""
    return {seed: clean[seed].last.accuracy - accuracy for seed, accuracy in _accuracies(runs).items()}


def _clean(setting: AuditSetting, results: Results) -> list[Clean]:
    first: dict[tuple[str, float], CleanRuns] = {}
    for runs in results.clean:
        first.setdefault((runs.partition, runs.share), runs)
    return [
        Clean(
            partition=partition,
            share=share,
            accuracy=Measured.of([history.last.accuracy for history in runs.histories.values()]),
            worst_class_accuracy=Measured.of(
                [history.last.worst_class_accuracy for history in runs.histories.values()]
            ),
            cost=_cost(runs, results) if share == setting.headline_share else None,
            command=command(runs.scenarios),
        )
        for (partition, share), runs in first.items()
    ]


def _cost(runs: CleanRuns, results: Results) -> Measured:
    reference = results.undefended[runs.partition].histories
    return Measured.of(
        [reference[seed].last.accuracy - history.last.accuracy for seed, history in runs.histories.items()]
    )


def _tried(setting: AuditSetting, trials: Sequence[Trial]) -> Iterator[Tried]:
    """Yield what tuning tried, in order."""
    places = dict.fromkeys((trial.case.partition, trial.case.share) for trial in trials)
    strongest = {
        trial.case for place in places for threat in THREATS for trial in ranking(trials, threat, *place)
    }
    for trial in trials:
        case = trial.case
        built = build_attack(setting.spec(case))
        yield Tried(
            threat=case.attack.threat,
            partition=case.partition,
            share=case.share,
            attack=setting.spec(case),
            knowledge=case.knowledge or case.attack.knowledge or built.card.knowledge.value,
            default=trial.is_default,
            harm=trial.harm,
            stopped=trial.stopped,
            strongest=case in strongest,
        )


def scenario_settings(base: Scenario) -> dict[str, object]:
    """Return the fields of a scenario that an audit does not set."""
    return {name: value for name, value in base.content().items() if name not in VARIED}


def _highest(rows: Iterable[Attacked], threat: Threat) -> float | None:
    return max(
        (row.success.mean for row in rows if row.threat == threat and row.success is not None), default=None
    )


def _memory(setting: AuditSetting) -> float | None:
    rule = setting.base.replace(malicious=setting.headline_share).aggregation
    return None if isinstance(rule, FlowerStrategy) else relative_memory(rule, setting.base.sampled)

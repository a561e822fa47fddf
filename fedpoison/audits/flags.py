"""Flags: facts for which an audit may overrate a strategy, as the flags of AutoAttack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from statistics import fmean

import numpy as np

from fedpoison.audits.card_parts import Flag, FlagKind
from fedpoison.audits.protocol import THREATS, Budget, Threat
from fedpoison.audits.results import CleanRuns, Results
from fedpoison.audits.setting import AuditSetting, Case
from fedpoison.audits.tuning import Trial, ranking, tuned_shares
from fedpoison.results.defects import Defects
from fedpoison.results.effects import Effects
from fedpoison.results.history import History
from fedpoison.results.run_frame import estimate, percent
from fedpoison.scenario.aggregation import FlowerStrategy

NOTICEABLE = 0.05
"""Difference of harm, as a share, that is more than chance."""
Found = Iterator[tuple[FlagKind, str]]
WIDE = 0.1
"""Width of an interval, as a share, from which more seeds are needed."""
MOSTLY = 0.9
"""False-rejection rate of honest clients from which a strategy uses almost no client."""


def find_flags(
    setting: AuditSetting, budget: Budget, trials: Sequence[Trial], results: Results
) -> list[Flag]:
    """Return the flags of an audit, the most severe first."""
    found = [
        *_no_learning(results),
        *_rejects_all(results),
        *_failed(setting, trials, results),
        *_undefined(setting),
        *_uncertain(setting, budget, results),
        *_probe(setting),
        *_lost_replies(results),
        *_no_effect(setting, results),
        *_default_strength(setting, budget, trials),
        *_end_of_range(setting, budget, trials),
        *_less_knowledge(setting, trials),
    ]
    return [Flag(kind=kind, text=text) for kind, text in dict.fromkeys(found)]


def _no_learning(results: Results) -> Found:
    for runs in results.clean:
        reasons = Defects.sum(history.defects for history in runs.histories.values()).no_result
        if reasons:
            text = f"{_unharmed(runs)}: {reasons[0]}. An attack cannot harm a model that does not learn"
            yield "no learning", text


def _rejects_all(results: Results) -> Found:
    """Yield a flag if the strategy uses no client, or almost none, without an attack."""
    used: list[float] = []
    for runs in results.clean:
        records = [record for history in runs.histories.values() for record in history.records[1:]]
        unchanged = sum(sum(record.training.unchanged.values()) for record in records)
        rounds = sum(history.last.round for history in runs.histories.values())
        if unchanged:
            text = f"{_unharmed(runs)}: {unchanged} of {rounds} rounds did not change the model"
            yield "rejects all", text
        trusts = [trust for record in records if (trust := record.training.trust)]
        empty = [trust for trust in trusts if sum(trust.values()) == 0]
        if empty:
            text = f"{_unharmed(runs)}: all clients were rejected in {len(empty)} of {len(trusts)} rounds"
            yield "rejects all", text
        else:
            used += [sum(share > 0 for share in trust.values()) / len(trust) for trust in trusts]
    if used and fmean(used) < 1 - MOSTLY:
        yield (
            "rejects all",
            f"without attack, the strategy uses {percent(fmean(used))} % of the clients per round",
        )


def _failed(setting: AuditSetting, trials: Iterable[Trial], results: Results) -> Found:
    reasons = {
        setting.spec(trial.case): trial.reason for trial in trials if trial.reason and not trial.stopped
    }
    for attack, reason in {**reasons, **results.failed}.items():
        yield "failed runs", f"{attack} does not count, because its runs failed: {reason}"


def _undefined(setting: AuditSetting) -> Found:
    for share, reason in setting.undefined.items():
        yield "undefined share", f"{_share(share)} malicious: {reason}"


def _uncertain(setting: AuditSetting, budget: Budget, results: Results) -> Found:
    """Yield a flag if the results need more seeds."""
    widths = {}
    for runs in results.attacked:
        found = estimate([history.last.accuracy for history in runs.histories.values()] or [0.0])
        if found.low is not None and found.high is not None and found.high - found.low > WIDE:
            widths[runs] = found.high - found.low
    if not widths:
        return
    widest = max(widths, key=widths.__getitem__)
    some = (
        f"the accuracy under {len(widths)} of {len(results.attacked)} attacks has an interval wider than "
        f"{percent(WIDE, 0)} points, at most {percent(widths[widest], 0)} points under "
        f"{_place(setting, widest.case)}; {budget.seeds} seeds are few, choose a larger budget"
    )
    if _is_random(setting):
        yield "random rule", f"the strategy draws random numbers, and {some}"
    else:
        yield "few seeds", some


def _probe(setting: AuditSetting) -> Found:
    """Yield a flag if rule-aware attacks try another aggregation than the one that the server computes."""
    if isinstance(setting.base.aggregation, FlowerStrategy):
        yield "probe differs", "attacks cannot call a strategy of Flower, so no rule-aware attack ran"
    elif _is_random(setting):
        text = (
            "rule-aware attacks try the strategy with other random draws than the server's, so they adapt to "
            "its average behaviour"
        )
        yield "probe differs", text


def _lost_replies(results: Results) -> Found:
    for clean in results.clean:
        defects = Defects.sum(history.defects for history in clean.histories.values())
        if defects.dropped:
            reasons = "; ".join(f"{count} x {reason}" for reason, count in defects.dropped.items())
            yield "lost replies", f"{_unharmed(clean)}: {reasons}"
    for runs in results.attacked:
        honest = sum(
            client not in record.training.malicious
            for history in runs.histories.values()
            for record in history.records[1:]
            for client in record.training.dropped
        )
        if honest:
            attack = runs.scenarios[0].attack
            yield "lost replies", f"{attack}: {honest} replies of honest clients were unusable"


def _no_effect(setting: AuditSetting, results: Results) -> Found:
    for runs in results.attacked:
        if any(_is_idle(history) for history in runs.histories.values()):
            text = f"{_place(setting, runs.case)}: the attack changed no data and no update"
            yield "no effect", text
        clean = results.clean_runs(runs.case).histories
        same = [
            np.array_equal(history.last.counts, clean[seed].last.counts)
            for seed, history in runs.histories.items()
        ]
        if sum(same) == len(runs.scenarios):
            text = (
                f"{_place(setting, runs.case)}: every prediction is as without attack; the strategy rejects "
                "the attack fully, or the attack does nothing"
            )
            yield "no effect", text


def _is_idle(history: History) -> bool:
    """Return whether the attack of a run changed the data or the update of no client."""
    groups = [group for record in history.records[1:] for group in record.training.groups]
    effects = Effects.total(group.effects for group in groups if group.effects is not None)
    changed = [*effects.data.values(), *effects.updates.values()]
    return bool(changed) and not any(changed)


def _default_strength(setting: AuditSetting, budget: Budget, trials: Sequence[Trial]) -> Found:
    """Yield a flag if the strategy is robust to attacks with their default strengths only."""
    defaults = [trial for trial in trials if trial.is_default]
    for threat, partition, share in _places(setting, budget):
        tuned = ranking(trials, threat, partition, share)
        usual = ranking(defaults, threat, partition, share)
        if not tuned or not usual:
            continue
        before, after = usual[0].harm or 0.0, tuned[0].harm or 0.0
        if after - before > NOTICEABLE:
            text = (
                f"{threat}: tuning raises the harm of the worst attack from {percent(before)} % "
                f"({setting.spec(usual[0].case)}) to {percent(after)} % ({_place(setting, tuned[0].case)})"
            )
            yield "default strength", text


def _end_of_range(setting: AuditSetting, budget: Budget, trials: Sequence[Trial]) -> Found:
    """Yield a flag if the strongest attack has the smallest or the largest strength of its range."""
    for place in _places(setting, budget):
        ranked = ranking(trials, *place)
        if not ranked:
            continue
        case, harm = ranked[0].case, ranked[0].harm or 0.0
        numbers = sorted(value for value in case.attack.strengths if isinstance(value, float))
        others = [
            trial.harm or 0.0
            for trial in trials
            if trial.case.strength != case.strength
            and replace(trial.case, strength=case.strength, knowledge=case.knowledge) == case
        ]
        at_end = len(numbers) > 1 and case.strength in (numbers[0], numbers[-1])
        if at_end and others and harm - max(others) > NOTICEABLE:
            text = f"{_place(setting, case)} has the last of the tried strengths; one beyond it may harm more"
            yield "end of range", text


def _less_knowledge(setting: AuditSetting, trials: Sequence[Trial]) -> Found:
    """Yield a flag if an attack harms more with less knowledge: it uses its knowledge badly."""
    by_case = {trial.case: trial for trial in trials}
    for trial in trials:
        more = by_case.get(replace(trial.case, knowledge=None))
        if trial.case.knowledge is None or trial.harm is None or more is None or more.harm is None:
            continue
        if trial.harm - more.harm > NOTICEABLE:
            text = (
                f"{_place(setting, trial.case)}: the harm is {percent(trial.harm)} % with knowledge "
                f"{trial.case.knowledge}, and {percent(more.harm)} % with more knowledge"
            )
            yield "less knowledge", text


def _places(setting: AuditSetting, budget: Budget) -> Iterator[tuple[Threat, str, float]]:
    """Yield each threat, partition and malicious share of tuning."""
    return product(THREATS, setting.protocol.partitions, tuned_shares(setting, budget))


def _place(setting: AuditSetting, case: Case) -> str:
    return f"{setting.spec(case)}, {case.partition}, {_share(case.share)} malicious"


def _unharmed(runs: CleanRuns) -> str:
    return f"without attack, {runs.partition}, configured for {_share(runs.share)} malicious"


def _share(share: float) -> str:
    return f"{percent(share, 0)} %"


def _is_random(setting: AuditSetting) -> bool:
    rule = setting.base.aggregation
    return not isinstance(rule, FlowerStrategy) and "randomness" in rule.card.needs

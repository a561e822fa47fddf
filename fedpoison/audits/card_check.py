"""Check of another person's card without any run: protocol, completeness, and the numbers at the top."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_folder import changed_by_user
from fedpoison.audits.card_parts import Attacked
from fedpoison.audits.cell_check import cells, describe
from fedpoison.audits.effects import attack_names
from fedpoison.audits.leaderboard import rows_at
from fedpoison.audits.protocol import PROTOCOLS, THREATS, UNATTACKED, Budget, Protocol
from fedpoison.audits.setting import AuditSetting
from fedpoison.audits.summary import scenario_settings
from fedpoison.errors import RunError
from fedpoison.scenario.scenario import Scenario


def find_protocol(card: AuditCard) -> Protocol:
    """Return the protocol of a card.

    Raises:
        RunError: this version of fedpoison does not have the protocol, or its content differs.
    """
    protocol = PROTOCOLS.get(card.protocol)
    if protocol is None:
        raise RunError(
            f"protocol: got {card.protocol}, expected one of {', '.join(PROTOCOLS)}; update fedpoison."
        )
    if protocol.digest != card.protocol_digest:
        raise RunError(
            f"protocol digest: got {card.protocol_digest}, expected {protocol.digest}; the card is of "
            f"another version of {card.protocol}. Audit the strategy again."
        )
    return protocol


def load_setting(card: AuditCard, protocol: Protocol, data_dir: str | Path | None = None) -> AuditSetting:
    """Return the setting that this machine has for the audit of a card.

    Raises:
        ScenarioError: the strategy or the settings of the card are not valid here.
        DataError: the data set is not available.
    """
    return AuditSetting.load(protocol, Scenario.parse({**card.settings, **UNATTACKED}), data_dir=data_dir)


def faults(card: AuditCard, setting: AuditSetting) -> list[str]:
    """Return what is wrong with a card without running anything. Empty: it is complete and consistent."""
    protocol = setting.protocol
    if card.budget not in protocol.budgets:
        return [f"budget: got {card.budget}, expected one of {', '.join(protocol.budgets)}"]
    budget = protocol.budgets[card.budget]
    return [
        *_wrong("seeds", card.seeds, list(protocol.seeds(budget))),
        *_wrong("tuning seeds", card.tuning_seeds, list(protocol.tuning_seeds(budget))),
        *_wrong("strategy", card.strategy, str(setting.base.strategy)),
        *_wrong("data set", card.dataset, setting.base.dataset_title),
        *_wrong("model", card.model, str(setting.base.model)),
        *_wrong("settings", card.settings, scenario_settings(setting.base)),
        *(f"settings: {name} differs from the protocol" for name in changed_by_user(card)),
        *_wrong("headline share", card.headline_share, setting.headline_share),
        *_wrong(
            "undefined shares", sorted(card.undefined), [f"{share:g}" for share in sorted(setting.undefined)]
        ),
        *_wrong("left out attacks", sorted(card.left_out), sorted(setting.left_out)),
        *_missing(card, setting, budget),
        *_foreign(card, setting),
        *_top(card),
        *_outside(card),
    ]


def _wrong(name: str, got: object, expected: object) -> Iterator[str]:
    if got != expected:
        yield f"{name}: got {got}, expected {expected}"


def _missing(card: AuditCard, setting: AuditSetting, budget: Budget) -> Iterator[str]:
    """Yield the places without the results that the budget reports."""
    failed = any(flag.kind == "failed runs" for flag in card.flags)
    for share in setting.shares:
        for partition in setting.protocol.partitions:
            place = f"{partition}, {100 * share:g} % malicious"
            if sum((row.partition, row.share) == (partition, share) for row in card.clean) != 1:
                yield f"{place}: expected one row without attack"
            for threat in THREATS:
                tried = sum(len(attack.tries) for attack in setting.attacks if attack.threat == threat)
                expected = min(budget.finalists[threat], tried)
                rows = sum(
                    (row.partition, row.share, row.threat) == (partition, share, threat)
                    for row in card.attacked
                )
                if rows > expected or (rows < expected and not failed):
                    yield f"{place}: got {rows} {threat} attacks, expected {expected}"


def _foreign(card: AuditCard, setting: AuditSetting) -> Iterator[str]:
    """Yield the attacks that are not in the protocol."""
    known = {
        (attack.threat, *attack_names(attack.spec(attack.tries[0], classes=setting.classes)), attack.schedule)
        for attack in setting.protocol.attacks
    }
    places = {(partition, share) for partition in setting.protocol.partitions for share in setting.shares}
    for row in card.attacked:
        if (row.threat, *attack_names(row.attack), row.schedule) not in known:
            yield f"{row.attack} with schedule {row.schedule} is no {row.threat} attack of {card.protocol}"
        if (row.partition, row.share) not in places:
            yield f"{describe(row)}: the protocol has no such place"


def _top(card: AuditCard) -> Iterator[str]:
    """Yield the numbers at the top that the rows do not give."""
    attacked = [row for row in card.attacked if row.share == card.headline_share]
    clean = [row for row in card.clean if row.share == card.headline_share]
    rows = rows_at(card, card.headline_share)
    if not attacked or not clean:
        return
    successes = {
        threat: [row.success.mean for row in attacked if row.threat == threat and row.success is not None]
        for threat in THREATS
    }
    costs = [row.cost.mean for row in clean if row.cost is not None]
    yield from _wrong("worst accuracy", card.worst_accuracy, min(row.accuracy.mean for row in rows))
    yield from _wrong(
        "worst class accuracy", card.worst_class_accuracy, min(row.worst_class_accuracy.mean for row in rows)
    )
    yield from _wrong("clean accuracy", card.clean_accuracy, min(row.accuracy.mean for row in clean))
    yield from _wrong("robustness cost", card.robustness_cost, max(costs, default=None))
    yield from _wrong("backdoor success", card.backdoor_success, max(successes["backdoor"], default=None))
    yield from _wrong("targeted success", card.targeted_success, max(successes["targeted"], default=None))
    yield from _wrong("breakdown share", card.breakdown_share, card.breakdown.share)


def _outside(card: AuditCard) -> Iterator[str]:
    """Yield the rows with numbers that no run can have."""
    for row in cells(card):
        measures = [row.accuracy, row.worst_class_accuracy]
        if isinstance(row, Attacked) and row.success is not None:
            measures.append(row.success)
        for found in measures:
            ends = [found.mean, *(end for end in (found.low, found.high) if end is not None)]
            if not all(0 <= end <= 1 for end in ends):
                yield f"{describe(row)}: got {found.percent()}, expected shares from 0 to 100 %"

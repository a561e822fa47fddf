"""Tables of a card, for the terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_parts import Attacked
from fedpoison.audits.protocol import THREATS, Threat
from fedpoison.results.run_frame import coverage_note, percent


@dataclass(frozen=True, eq=False)
class CardTable:
    """One table of texts."""

    title: str
    cells: pd.DataFrame
    labels: int = 1
    """Number of first columns that label the rows."""
    words: Sequence[str] = ()
    """Other columns that contain words. The rest contain numbers."""


def card_tables(card: AuditCard) -> list[CardTable]:
    """Return the tables of a card: the numbers at the top, worst cases, clean runs, classes, times."""
    found = [_top(card), *(_worst(card, threat) for threat in THREATS), _clean(card)]
    found += [_classes(card), _seconds(card)]
    return [table for table in found if len(table.cells)]


def worst_rows(card: AuditCard) -> list[Attacked]:
    """Return the worst attack per threat at the headline share, over all partitions."""
    return [row for threat in THREATS if (row := card.worst(threat)) is not None]


def basis(card: AuditCard) -> str:
    """Return how the numbers were measured, in a few sentences."""
    changed = ""
    if card.changed_settings:
        changed = f" The settings {', '.join(card.changed_settings)} differ from the protocol."
    few = coverage_note(len(card.seeds))
    return (
        f"{card.protocol}, budget {card.budget}: {card.runs} runs. {card.tries} strengths were compared on "
        f"validation samples with {_count(card.tuning_seeds)}. The results are from the test set of "
        f"{card.dataset} with {_count(card.seeds)} that tuning did not use, and 95 % bootstrap intervals"
        f"{f' ({few})' if few else ''}.{changed}"
    )


def _count(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed" if len(seeds) == 1 else f"{len(seeds)} seeds"


def _top(card: AuditCard) -> CardTable:
    rows = {
        "worst accuracy": percent(card.worst_accuracy),
        "worst class": percent(card.worst_class_accuracy),
        "backdoor success": percent(card.backdoor_success),
        "targeted success": percent(card.targeted_success),
        "clean accuracy": percent(card.clean_accuracy),
        "cost without attack": percent(card.robustness_cost),
        "breakdown share": card.breakdown.text,
    }
    title = f"{card.strategy}, {percent(card.headline_share, 0)} % malicious, worst case over all attacks, %"
    return CardTable(title, pd.DataFrame({"measure": list(rows), "value": list(rows.values())}))


def _worst(card: AuditCard, threat: Threat) -> CardTable:
    places = [(share, partition) for share in card.shares for partition in card.partitions]
    rows = []
    for share, partition in places:
        row = card.worst(threat, share, partition)
        if row is None:
            continue
        cells = {
            "malicious": f"{percent(share, 0)} %",
            "data": partition,
            "accuracy": row.accuracy.percent(),
            "worst class": row.worst_class_accuracy.percent(),
        }
        if row.success is not None:
            cells["success"] = row.success.percent()
            cells["success without"] = "-" if row.clean_success is None else percent(row.clean_success.mean)
        rows.append(cells | {"attack": _attack(row)})
    return CardTable(f"Worst case, {threat} attacks, %", pd.DataFrame(rows), labels=2, words=["attack"])


def _attack(row: Attacked) -> str:
    """Return the attack, its schedule, its knowledge, and whether it stopped the server."""
    facts = [row.knowledge, *(["knows the rule"] if row.knows_rule else [])]
    facts += [row.schedule] if row.schedule != "always" else []
    facts += [f"stopped the server with seeds {row.stopped_seeds}"] if row.stopped_seeds else []
    return f"{row.attack}: {', '.join(facts)}"


def _clean(card: AuditCard) -> CardTable:
    rows = [
        {
            "configured for": f"{percent(row.share, 0)} %",
            "data": row.partition,
            "accuracy": row.accuracy.percent(),
            "worst class": row.worst_class_accuracy.percent(),
            "cost": "-" if row.cost is None else row.cost.percent(),
        }
        for row in card.clean
    ]
    return CardTable("Without attack, and the cost compared to FedAvg, %", pd.DataFrame(rows), labels=2)


def _classes(card: AuditCard) -> CardTable:
    rows = [
        {
            "class": row.label,
            "without attack": percent(row.false_rejection),
            "worst case": percent(row.under_attack),
        }
        for row in card.classes
    ]
    return CardTable("Honest samples on rejected clients by class, skewed data, %", pd.DataFrame(rows))


def _seconds(card: AuditCard) -> CardTable:
    rows = [
        {"cost per round": f"{phase}, s", "value": f"{seconds:.4f}"}
        for phase, seconds in card.seconds_per_round.items()
    ]
    if card.memory is not None:
        rows.append({"cost per round": "memory of the aggregation, x updates", "value": f"{card.memory:.2f}"})
    return CardTable("Time and memory per round without attack", pd.DataFrame(rows))

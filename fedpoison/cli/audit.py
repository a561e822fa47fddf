"""`fedpoison audit`: the robustness card of a strategy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from fedpoison.audits.audit import audit
from fedpoison.audits.card import Attacked, AuditCard
from fedpoison.audits.protocol import AUDIT_1, THREATS
from fedpoison.audits.setting import FIXED, VARIED
from fedpoison.cli.options import BatchSettings, with_batch_settings, with_scenario
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import TextTable
from fedpoison.errors import file_errors
from fedpoison.results.run_frame import coverage_note, percent
from fedpoison.results.store import content_name
from fedpoison.scenario.scenario import Scenario


@with_scenario(without=(*VARIED, *FIXED), **AUDIT_1.settings)
@with_batch_settings
def audit_command(
    *,
    scenario: Scenario,
    budget: Annotated[
        str,
        typer.Option(help=f"Effort: {', '.join(AUDIT_1.budgets)}. All budgets use the same settings."),
    ] = "quick",
    settings: BatchSettings,
) -> None:
    """Measure the worst case of a strategy with a fixed protocol of tuned attacks."""
    AUDIT_1.budget(budget)
    with BatchProgress(0, scenario.rounds) as progress:
        card = audit(
            scenario,
            budget=budget,
            protocol=AUDIT_1,
            on_planned=progress.add_runs,
            **settings.options(progress),
        )
    folder = settings.out / content_name("audit", card.strategy, card.settings, card.protocol_digest, budget)
    write(card, folder)
    settings.show(lambda: {**card.model_dump(mode="json"), "path": str(folder)}, lambda: tables(card))
    settings.print_notes(card.remarks)
    settings.notes.print(basis(card))
    settings.notes.print(f"card: {folder}", markup=False)


def write(card: AuditCard, folder: Path) -> None:
    """Write the card as JSON and as Markdown into a folder."""
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
        (folder / "card.md").write_text(markdown(card), encoding="utf-8")


def tables(card: AuditCard) -> list[TextTable]:
    """Return the tables of a card: the numbers at the top, worst cases, clean runs, classes."""
    found = [_top(card), *(_worst(card, threat) for threat in THREATS), _clean(card)]
    if card.classes:
        found.append(_classes(card))
    return [table for table in found if len(table.cells)]


def markdown(card: AuditCard) -> str:
    """Return the card in Markdown, with the commands that repeat the worst cases."""
    parts = [f"# {card.protocol} of `{card.strategy}`\n", basis(card) + "\n"]
    parts += [table.to_markdown() for table in tables(card)]
    if card.flags:
        parts.append(
            "## Flags\n\n" + "\n".join(f"- **{flag.kind}**: {flag.text}" for flag in card.flags) + "\n"
        )
    commands = dict.fromkeys(row.command for row in worst_rows(card, [card.headline_share]))
    parts.append("## Repeat the worst cases\n\n```\n" + "\n".join(commands) + "\n```\n")
    return "\n".join(parts)


def worst_rows(card: AuditCard, shares: Iterable[float]) -> list[Attacked]:
    """Return the worst attack per threat and share, over all partitions."""
    found = (card.worst(threat, share) for threat in THREATS for share in shares)
    return [row for row in found if row is not None]


def basis(card: AuditCard) -> str:
    """Return how the numbers were measured, in two sentences."""
    changed = ""
    if card.changed_settings:
        changed = f" The settings {', '.join(card.changed_settings)} differ from the protocol."
    few = coverage_note(len(card.seeds))
    return (
        f"{card.protocol}, budget {card.budget}: {card.runs} runs, {card.tries} tried strengths, chosen "
        f"on validation samples with {len(card.tuning_seeds)} other {_plural(card.tuning_seeds)}; results on "
        f"the test set of {card.dataset} with {len(card.seeds)} {_plural(card.seeds)}, 95 % bootstrap "
        f"intervals{f' ({few})' if few else ''}.{changed}"
    )


def _plural(seeds: list[int]) -> str:
    return "seed" if len(seeds) == 1 else "seeds"


def _top(card: AuditCard) -> TextTable:
    interval = card.breakdown
    spread = "" if interval.low is None else f", from {percent(interval.low, 0)} %"
    spread += "" if interval.high is None else f" to {percent(interval.high, 0)} %"
    breaks = (
        "none up to " + percent(max(card.shares), 0)
        if card.breakdown_share is None
        else percent(card.breakdown_share, 0)
    )
    rows = {
        "worst accuracy": percent(card.worst_accuracy),
        "worst class": percent(card.worst_class_accuracy),
        "backdoor success": percent(card.backdoor_success),
        "targeted success": percent(card.targeted_success),
        "clean accuracy": percent(card.clean_accuracy),
        "cost without attack": percent(card.robustness_cost),
        "breakdown share": f"{breaks}{spread}",
    }
    title = f"{card.strategy}, {percent(card.headline_share, 0)} % malicious, worst case over all attacks, %"
    return TextTable(title, pd.DataFrame({"measure": list(rows), "value": list(rows.values())}))


def _worst(card: AuditCard, threat: str) -> TextTable:
    rows = []
    for share in card.shares:
        for partition in card.partitions:
            row = card.worst(threat, share, partition)  # type: ignore[arg-type]
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
                cells["without attack"] = (
                    "-" if row.clean_success is None else percent(row.clean_success.mean)
                )
            stopped = (
                f" (stopped the server with {len(row.stopped_seeds)} seeds)" if row.stopped_seeds else ""
            )
            rows.append({**cells, "attack": f"{row.attack}{stopped}", "knowledge": _knowledge(row)})
    frame = pd.DataFrame(rows)
    return TextTable(f"Worst case, {threat} attacks, %", frame, labels=2, words=["attack", "knowledge"])


def _knowledge(row: Attacked) -> str:
    return f"{row.knowledge}, rule" if row.knows_rule else row.knowledge


def _clean(card: AuditCard) -> TextTable:
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
    return TextTable("Without attack, and the cost compared to FedAvg, %", pd.DataFrame(rows), labels=2)


def _classes(card: AuditCard) -> TextTable:
    rows = [
        {
            "class": row.label,
            "without attack": percent(row.false_rejection),
            "worst case": percent(row.under_attack),
        }
        for row in card.classes
    ]
    return TextTable("Honest samples on rejected clients by class, skewed data, %", pd.DataFrame(rows))

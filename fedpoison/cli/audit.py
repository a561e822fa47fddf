"""`fedpoison audit`: the robustness card of a strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedpoison.audits.audit import audit
from fedpoison.audits.card import AuditCard
from fedpoison.audits.page import write_page
from fedpoison.audits.protocol import LATEST, UNATTACKED
from fedpoison.audits.setting import FIXED, VARIED
from fedpoison.audits.tables import CardTable, basis, card_tables, worst_rows
from fedpoison.cli.options import BatchSettings, with_batch_settings, with_scenario
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import TextTable
from fedpoison.errors import file_errors
from fedpoison.results.markdown import markdown_text
from fedpoison.results.store import content_name
from fedpoison.scenario.scenario import Scenario


@with_scenario(without=(*VARIED, *FIXED), **LATEST.settings, **UNATTACKED)
@with_batch_settings
def audit_command(
    *,
    scenario: Scenario,
    budget: Annotated[
        str,
        typer.Option(help=f"Effort: {', '.join(LATEST.budgets)}. All budgets use the same settings."),
    ] = "quick",
    settings: BatchSettings,
) -> None:
    """Measure the worst case of a strategy with a fixed protocol of tuned attacks."""
    LATEST.budget(budget)
    with BatchProgress(0, scenario.rounds) as progress:
        card = audit(
            scenario,
            budget=budget,
            protocol=LATEST,
            on_planned=progress.add_runs,
            **settings.options(progress),
        )
    folder = settings.out / content_name("audit", card.strategy, card.settings, card.protocol_digest, budget)
    write(card, folder)
    settings.show(lambda: {**card.content(), "path": str(folder)}, lambda: tables(card))
    settings.print_notes(card.remarks)
    settings.notes.print(basis(card))
    settings.notes.print(f"card: {folder}", markup=False)


def write(card: AuditCard, folder: Path) -> None:
    """Write the card as JSON, as Markdown and as a page into a folder."""
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
        (folder / "card.md").write_text(markdown(card), encoding="utf-8")
    write_page(card, folder / "card.html")


def tables(card: AuditCard) -> list[TextTable]:
    """Return the tables of a card for the terminal."""
    return list(map(text_table, card_tables(card)))


def text_table(table: CardTable) -> TextTable:
    """Return a table of the library for the terminal."""
    return TextTable(table.title, table.cells, table.labels, table.words)


def markdown(card: AuditCard) -> str:
    """Return the card in Markdown, with the commands that repeat the worst cases."""
    parts = [f"# {card.protocol} of `{card.strategy}`\n", basis(card) + "\n"]
    parts += [table.to_markdown() for table in tables(card)]
    if card.flags:
        flags = "\n".join(f"- **{flag.kind}**: {markdown_text(flag.text)}" for flag in card.flags)
        parts.append(f"## Flags\n\n{flags}\n")
    commands = "\n".join(dict.fromkeys(row.command for row in worst_rows(card)))
    parts.append(f"## Repeat the worst cases\n\n```\n{commands}\n```\n")
    return "\n".join(parts)

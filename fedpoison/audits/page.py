"""The card as one HTML page that needs no network."""

from __future__ import annotations

from base64 import b64encode
from io import StringIO
from pathlib import Path

from fedpoison.audits.card import AuditCard
from fedpoison.audits.tables import basis, card_tables, worst_rows
from fedpoison.errors import file_errors
from fedpoison.report.pages import render


def write_page(card: AuditCard, path: str | Path) -> None:
    """Write the page of a card.

    Raises:
        RunError: the file cannot be written.
    """
    with file_errors(Path(path)):
        Path(path).write_text(page(card), encoding="utf-8")


def page(card: AuditCard) -> str:
    """Return the page as text: the numbers, a figure, tables, flags, all tried attacks, and commands."""
    return render(
        "card.html.j2",
        "fedpoison.audits",
        title=f"{card.protocol} of {card.strategy}",
        card=card,
        basis=basis(card),
        top=dict(card_tables(card)[0].cells.itertuples(index=False)),
        tables=card_tables(card)[1:],
        worst=worst_rows(card),
        figure=_figure(card),
    )


def _figure(card: AuditCard) -> str:
    """Return the figure of a card as the address of an image in the page."""
    written = StringIO()
    card.plot().savefig(written, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{b64encode(written.getvalue().encode()).decode()}"

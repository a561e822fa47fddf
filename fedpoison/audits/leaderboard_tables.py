"""Tables of a leaderboard, for the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from fedpoison.audits.card import AuditCard
from fedpoison.audits.leaderboard import Leaderboard, lowest, rows_at
from fedpoison.audits.protocol import Threat
from fedpoison.audits.tables import CardTable
from fedpoison.results.markdown import Alignment, markdown_table, markdown_text
from fedpoison.results.run_frame import coverage_note, format_interval, percent

TARGETS: tuple[Threat, ...] = ("targeted", "backdoor")
"""Threats whose attacks have a target, so that their success is measured."""
BAR = r"\|"
"""A vertical bar in code in a table."""
SMALL = 8
"""Number of rows of the small table."""


def board_tables(board: Leaderboard) -> list[CardTable]:
    """Return the tables of a leaderboard: all strategies, and worst cases by threat and share."""
    by_share = [_by_share(board, threat) for threat in (None, *TARGETS)]
    found = [all_strategies(board), *by_share, _missing(board)]
    return [table for table in found if len(table.cells)]


def all_strategies(board: Leaderboard) -> CardTable:
    """Return the table with one row per strategy at the headline share."""
    rows = [
        {
            "strategy": row.strategy,
            "worst accuracy": interval(row, "worst_accuracy"),
            "clean": interval(row, "clean_accuracy"),
            "worst class": percent(row.worst_class_accuracy),
            "targeted": interval(row, "targeted_success"),
            "backdoor": interval(row, "backdoor_success"),
            "breakdown": row.breakdown,
            "cost": percent(row.robustness_cost),
            "ms": milliseconds(row.seconds_per_aggregation),
            "under": "-" if pd.isna(row.worst_attack) else f"{row.worst_attack}, {row.worst_partition}",
        }
        for row in frame_rows(board.to_frame())
        if row.strategy not in board.undefined
    ]
    title = f"Worst case of each strategy, {percent(board.headline_share, 0)} % malicious, %"
    return CardTable(title, pd.DataFrame(rows), words=["under"])


def small_table(board: Leaderboard, rows: int = SMALL) -> str:
    """Return the best strategies that no other one dominates, and FedAvg, as a small table in Markdown."""
    frame = board.to_frame()
    names = [*[name for name in frame["strategy"] if name in board.front][:rows], "fedavg"]
    chosen = frame[frame["strategy"].isin(names)]
    cells = pd.DataFrame(
        [
            {
                "strategy": f"`{row.strategy.replace('|', BAR)}`",
                "without attack": percent(row.clean_accuracy),
                "worst case": interval(row, "worst_accuracy"),
                "backdoor succeeds": percent(row.backdoor_success),
                "breaks from": row.breakdown,
            }
            for row in frame_rows(chosen)
        ]
    )
    return markdown_table(cells, _alignments(cells, 1, []))


def to_markdown(table: CardTable) -> str:
    """Return a table in Markdown below its title."""
    cells = table.cells.map(markdown_text).rename(columns=markdown_text)
    words = [markdown_text(name) for name in table.words]
    return markdown_table(cells, _alignments(cells, table.labels, words))


def basis(board: Leaderboard) -> str:
    """Return what the numbers are, in a few sentences."""
    if not board.cards:
        return "The leaderboard has no cards."
    first = board.cards[0]
    few = coverage_note(len(first.seeds))
    return (
        f"{board.basis}. Each number is the worst case over all attacks of the protocol and over the "
        f"partitions {', '.join(board.partitions)}, from the test set. Brackets: 95 % bootstrap "
        f"intervals over the seeds"
        f"{f'; {few}' if few else ''}."
    )


def _alignments(cells: pd.DataFrame, labels: int, words: Sequence[str]) -> list[Alignment]:
    return [
        "left" if place < labels or name in words else "right" for place, name in enumerate(cells.columns)
    ]


def frame_rows(frame: pd.DataFrame) -> list[Any]:
    """Return the rows of a frame, with the columns as attributes."""
    return list(frame.itertuples())


def interval(row: object, name: str) -> str:
    """Return a measure of a row of `Leaderboard.to_frame` with its interval, in per cent."""
    mean, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
    return percent(mean) if pd.isna(mean) else format_interval(mean, low, high)


def milliseconds(seconds: float | None) -> str:
    """Return a time in milliseconds, or a dash without one."""
    return "-" if seconds is None or pd.isna(seconds) else f"{1000 * seconds:.1f}"


def _by_share(board: Leaderboard, threat: Threat | None) -> CardTable:
    """Return the lowest accuracy by strategy and share. For a threat with a target: the highest success."""
    rows = []
    for card in board.cards:
        cells = {f"{percent(share, 0)} %": _worst(card, threat, share) for share in board.shares}
        rows.append({"strategy": card.strategy, **cells})
    what = "Lowest accuracy under any attack" if threat is None else f"Highest success of {threat} attacks"
    return CardTable(f"{what} by malicious share, %", pd.DataFrame(rows))


def _worst(card: AuditCard, threat: Threat | None, share: float) -> str:
    if f"{share:g}" in card.undefined:
        return "not defined"
    if threat is None:
        weakest = lowest(rows_at(card, share))
        return "-" if weakest is None else percent(weakest.accuracy.mean)
    found = card.worst(threat, share)
    return "-" if found is None or found.success is None else percent(found.success.mean)


def _missing(board: Leaderboard) -> CardTable:
    rows = [{"strategy": name, "reason": reason} for name, reason in board.undefined.items()]
    return CardTable("Strategies without numbers", pd.DataFrame(rows), words=["reason"])

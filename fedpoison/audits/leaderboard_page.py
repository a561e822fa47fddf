"""The leaderboard as one HTML page that sorts and filters, and needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_parts import Measured
from fedpoison.audits.leaderboard import Leaderboard
from fedpoison.audits.leaderboard_tables import basis, frame_rows, interval, milliseconds
from fedpoison.audits.protocol import THREATS
from fedpoison.report.pages import BASE, TABLE_SCRIPTS, render
from fedpoison.report.table import Cell, Column, PageTable
from fedpoison.results.run_frame import percent

COLUMNS = (
    Column("strategy", "Strategy", "label"),
    Column("worst", "Worst accuracy"),
    Column("clean", "Without attack"),
    Column("class", "Worst class"),
    Column("targeted", "Targeted success", first="lowest"),
    Column("backdoor", "Backdoor success", first="lowest"),
    Column("breakdown", "Breaks from"),
    Column("cost", "Cost", first="lowest"),
    Column("ms", "Aggregation, ms", first="lowest"),
    Column("attack", "Worst attack", "words"),
    Column("better", "Dominated by", "words", wide=True),
    Column("flags", "Flags", "words", wide=True),
)
"""Columns of the table. `leaderboard.js` fills them with the numbers that the filters leave."""


def page(board: Leaderboard) -> str:
    """Return the page as text: filters, the table, a figure of accuracy against worst case, and reasons."""
    return render(
        "leaderboard.html.j2",
        "fedpoison.audits",
        title="Leaderboard of defences",
        board=board,
        basis=basis(board),
        threats=THREATS,
        table=_table(board),
        scripts=[
            *((BASE, name) for name in TABLE_SCRIPTS),
            *(("fedpoison.audits", name) for name in _SCRIPTS),
        ],
        data=_data(board),
    )


_SCRIPTS = ("scatter.js", "leaderboard.js")


def _table(board: Leaderboard) -> PageTable:
    rows = [
        list(_cells(row, board.dominators.get(row.strategy, [])))
        for row in frame_rows(board.to_frame())
        if row.strategy not in board.undefined
    ]
    caption = (
        "Worst case over the attacks that the filters leave, in per cent, with 95 % intervals over the "
        "seeds. Cost: accuracy of FedAvg minus that of the strategy, both without attack."
    )
    return PageTable("strategies", "Strategies by worst case", COLUMNS, rows, caption)


def _cells(row: Any, better: Sequence[str]) -> Iterator[Cell]:
    """Yield the cells of a strategy without any filter."""
    yield Cell(row.strategy)
    yield Cell(interval(row, "worst_accuracy"), row.worst_accuracy)
    yield Cell(interval(row, "clean_accuracy"), row.clean_accuracy)
    yield Cell(percent(row.worst_class_accuracy), row.worst_class_accuracy)
    yield Cell(interval(row, "targeted_success"), row.targeted_success)
    yield Cell(interval(row, "backdoor_success"), row.backdoor_success)
    yield Cell(row.breakdown, 1.0 if row.breakdown_share is None else row.breakdown_share)
    yield Cell(percent(row.robustness_cost), row.robustness_cost)
    yield Cell(milliseconds(row.seconds_per_aggregation), row.seconds_per_aggregation)
    missing = isinstance(row.undefined, str)
    yield Cell(row.undefined if missing else f"{row.worst_attack}, {row.worst_partition}")
    yield Cell(f"{better[0]} and {len(better) - 1} more" if len(better) > 1 else "".join(better))
    yield Cell(row.flags)


def _data(board: Leaderboard) -> dict[str, object]:
    """Return everything that the filters need, as JSON values."""
    return {
        "headline": board.headline_share,
        "strategies": [_strategy(card) for card in board.cards],
    }


def _strategy(card: AuditCard) -> dict[str, object]:
    clean = [
        {
            "share": row.share,
            "data": row.partition,
            "accuracy": _numbers(row.accuracy),
            "class": _numbers(row.worst_class_accuracy),
        }
        for row in card.clean
    ]
    attacked = [
        {
            "threat": row.threat,
            "share": row.share,
            "data": row.partition,
            "knows": "rule" if row.knows_rule else row.knowledge,
            "attack": row.attack,
            "accuracy": _numbers(row.accuracy),
            "class": _numbers(row.worst_class_accuracy),
            "success": None if row.success is None else _numbers(row.success),
        }
        for row in card.attacked
    ]
    return {"name": card.strategy, "undefined": card.undefined, "clean": clean, "attacked": attacked}


def _numbers(measured: Measured) -> tuple[float, str, str]:
    """Return the mean, its text, and its text with the interval, as the tables show them."""
    return measured.mean, percent(measured.mean), measured.percent()

"""Figures: the worst case of a card by malicious share, and the leaderboard as one point per strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpoison.audits.protocol import THREATS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fedpoison.audits.card import AuditCard
    from fedpoison.audits.leaderboard import Leaderboard


def worst_case_by_share(card: AuditCard) -> Figure:
    """Draw the worst case by malicious share: accuracy under each threat, and the success of attacks."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # matplotlib takes a second to import

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    unharmed = [
        min(row.accuracy.mean for row in card.clean if row.share == share) * 100 for share in card.shares
    ]
    shares = [100 * share for share in card.shares]
    left.plot(shares, unharmed, color="0.6", marker="o", label="without attack")
    for threat in THREATS:
        worst = [card.worst(threat, share) for share in card.shares]
        rows = [row for row in worst if row is not None]
        at = [100 * row.share for row in rows]
        left.plot(at, [100 * row.accuracy.mean for row in rows], marker="o", label=threat)
        successes = [100 * row.success.mean for row in rows if row.success is not None]
        if successes:
            right.plot(at, successes, marker="o", label=threat)
    for axes, title in ((left, "accuracy, %"), (right, "attack success, %")):
        axes.set(xlabel="malicious clients, %", ylabel=title, ylim=(-3, 103))
        axes.grid(visible=True, alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.suptitle(f"{card.protocol} of {card.strategy}: worst case")
    return figure


def clean_against_worst_case(board: Leaderboard) -> Figure:
    """Draw the accuracy without attack against the worst case. A line joins strategies without dominator."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # matplotlib takes a second to import

    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    axes = figure.subplots()
    rows = board.to_frame().dropna(subset=["worst_accuracy"])
    front = rows[rows["strategy"].isin(board.front)].sort_values("worst_accuracy")
    others = rows[~rows["strategy"].isin(board.front)]
    axes.plot(
        100 * others["worst_accuracy"], 100 * others["clean_accuracy"], "o", color="0.6", label="dominated"
    )
    axes.plot(100 * front["worst_accuracy"], 100 * front["clean_accuracy"], "o-", label="not dominated")
    for name, worst, clean in zip(
        rows["strategy"], 100 * rows["worst_accuracy"], 100 * rows["clean_accuracy"], strict=True
    ):
        axes.annotate(name, (worst, clean), xytext=(4, 3), textcoords="offset points", fontsize=7)
    axes.set(xlabel="worst-case accuracy, %", ylabel="accuracy without attack, %")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.suptitle(f"Leaderboard: {board.basis}", fontsize="small")
    return figure

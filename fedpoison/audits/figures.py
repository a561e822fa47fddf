"""Figure of a card: the worst case by malicious share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpoison.audits.protocol import THREATS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fedpoison.audits.card import AuditCard


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

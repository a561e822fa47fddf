"""The leaderboard: the cards of many strategies that ran one protocol, compared by their worst case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pandas as pd

from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_folder import BUILT_IN, changed_by_user, difference, kind_of, load_cards
from fedpoison.audits.card_parts import Attacked, Clean, Measured, worst_of
from fedpoison.audits.effects import AttackEffect, attack_effects
from fedpoison.audits.protocol import THREATS
from fedpoison.results.display import Displayed
from fedpoison.results.run_frame import percent
from fedpoison.scenario.registries import strategies

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Row = Attacked | Clean


def rows_at(card: AuditCard, share: float) -> list[Row]:
    """Return the rows of a malicious share, attacked or not."""
    rows: list[Row] = [*card.attacked, *card.clean]
    return [row for row in rows if row.share == share]


def lowest(rows: Iterable[Row]) -> Row | None:
    """Return the row with the lowest accuracy. None: there is no row."""
    return min(rows, key=lambda row: row.accuracy.mean, default=None)


@dataclass(frozen=True, eq=False, repr=False)
class Leaderboard(Displayed):
    """Cards of different strategies with one protocol, budget, data set and model.

    The numbers of a strategy are its worst case at the headline share, over all attacks and partitions.
    """

    cards: Sequence[AuditCard] = ()
    """Comparable cards, that with the highest worst-case accuracy first."""
    undefined: Mapping[str, str] = field(default_factory=dict)
    """Reason by strategy why it has no card."""
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    """Reason by name of the card why it does not compare to the others."""

    @classmethod
    def of(cls, cards: Mapping[str, AuditCard], undefined: Mapping[str, str] | None = None) -> Self:
        """Return the leaderboard of cards by name. The most common protocol and settings count.

        Args:
            cards: Cards by name, such as that of their file. Of two cards of one strategy, the first counts.
            undefined: Reason by strategy without a card.
        """
        kinds = Counter(kind_of(card) for card in cards.values() if not changed_by_user(card))
        reference = next(
            (card for card in cards.values() if kinds and kind_of(card) == kinds.most_common(1)[0][0]), None
        )
        chosen: dict[str, AuditCard] = {}
        refused: dict[str, str] = {}
        for name, card in cards.items():
            reason = difference(card, reference or card)
            if reason is None and card.strategy in chosen:
                reason = f"there is another card of {card.strategy}"
            if reason is None:
                chosen[card.strategy] = card
            else:
                refused[name] = reason
        share = max((card.headline_share for card in chosen.values()), default=0.0)
        ranked = sorted(chosen.values(), key=lambda card: (-_worst_accuracy(card, share), card.strategy))
        missing = {name: why for name, why in (undefined or {}).items() if name not in chosen}
        return cls(ranked, missing, refused)

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Self:
        """Load the cards in a folder. Default: the cards that belong to fedpoison.

        A file that is no card is among those that do not compare.

        Raises:
            RunError: the folder does not exist, or its reasons are damaged.
        """
        found = load_cards(BUILT_IN if folder is None else folder)
        board = cls.of(found.cards, found.undefined)
        return cls(board.cards, board.undefined, {**board.not_comparable, **found.broken})

    @property
    def headline_share(self) -> float:
        """Malicious share of the numbers in the table."""
        return max((card.headline_share for card in self.cards), default=0.0)

    @property
    def shares(self) -> list[float]:
        """Malicious shares with results."""
        return sorted({share for card in self.cards for share in card.shares})

    @property
    def partitions(self) -> list[str]:
        """Names of the partitions."""
        return list(dict.fromkeys(name for card in self.cards for name in card.partitions))

    @property
    def basis(self) -> str:
        """Protocol, budget, data and model that all cards share."""
        if not self.cards:
            return "no cards"
        first = self.cards[0]
        clients, rounds = first.settings.get("clients"), first.settings.get("rounds")
        return (
            f"{first.protocol} ({first.protocol_digest}), budget {first.budget}, {first.dataset}, "
            f"{first.model}, {clients} clients, {rounds} rounds, {len(first.seeds)} seeds, "
            f"{percent(self.headline_share, 0)} % malicious"
        )

    @cached_property
    def dominators(self) -> dict[str, list[str]]:
        """Strategies that dominate each strategy.

        They are at least as good without attack and in the worst case, and better in one. The means decide.
        Strategies without a number at the headline share are left out.
        """
        points = {
            card.strategy: (card.clean_accuracy, card.worst_accuracy)
            for card in self.cards
            if card.headline_share == self.headline_share
        }
        return {
            name: [
                other
                for other, (clean, worst) in points.items()
                if clean >= point[0] and worst >= point[1] and (clean, worst) != point
            ]
            for name, point in points.items()
        }

    @property
    def front(self) -> list[str]:
        """Strategies that no other strategy dominates."""
        return [name for name, better in self.dominators.items() if not better]

    @property
    def headline(self) -> str:
        """Number of strategies, what they share, and the best worst case."""
        if not self.cards:
            return "leaderboard without cards"
        best = self.cards[0]
        worst = percent(_worst_accuracy(best, self.headline_share))
        return (
            f"{len(self.cards)} strategies, {self.basis}: {best.strategy} has the best worst case, {worst} %"
        )

    @property
    def remarks(self) -> list[str]:
        """Strategies without a card, and cards that do not compare, with their reasons."""
        return [
            *(f"{name} has no card: {reason}" for name, reason in self.undefined.items()),
            *(f"{name} does not compare: {reason}" for name, reason in self.not_comparable.items()),
        ]

    @property
    def missing(self) -> list[str]:
        """Built-in strategies without a card and without a reason for that: they are not audited yet."""
        known = {*self.undefined, *(card.strategy for card in self.cards)}
        return [name for name in strategies.builtin if name not in known]

    def card(self, strategy: str) -> AuditCard | None:
        """Return the card of a strategy, or None."""
        return next((card for card in self.cards if card.strategy == strategy), None)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per strategy: its measures at the headline share, the best worst case first.

        Strategies that are not defined for this share, or have no card, have a reason in `undefined`.
        """
        rows = [self._row(card) for card in self.cards]
        rows += [{"strategy": name, "undefined": reason} for name, reason in self.undefined.items()]
        return pd.DataFrame(rows, columns=_COLUMNS)

    def results_frame(self) -> pd.DataFrame:
        """Return one row per strategy, share, partition and reported attack. Threat none: without attack."""
        rows: list[dict[str, object]] = []
        for card in self.cards:
            for clean in card.clean:
                place = {
                    "threat": "none",
                    "share": clean.share,
                    "partition": clean.partition,
                    "attack": "none",
                }
                rows.append({"strategy": card.strategy, **place, **_accuracies(clean)})
            for row in card.attacked:
                facts = row.model_dump(include=_FACTS) | spread("success", row.success)
                rows.append({"strategy": card.strategy, **facts, **_accuracies(row)})
        return pd.DataFrame(rows, columns=_LONG_COLUMNS)

    def effects_frame(self) -> pd.DataFrame:
        """Return one row per strategy and attack of the protocol: its strongest try."""
        found = [asdict(effect) for card in self.cards for effect in attack_effects(card)]
        return pd.DataFrame(found, columns=[each.name for each in fields(AttackEffect)])

    def shown_frame(self) -> pd.DataFrame:
        """Return the most important measures of each strategy."""
        columns = ["clean_accuracy", "worst_accuracy", "worst_class_accuracy", "backdoor_success"]
        return self.to_frame()[["strategy", *columns, "breakdown_share", "worst_attack"]]

    def plot(self) -> Figure:
        """Draw the accuracy without attack against the worst case, one point per strategy."""
        from fedpoison.audits.figures import clean_against_worst_case  # noqa: PLC0415  # matplotlib takes a second

        return clean_against_worst_case(self)

    def _row(self, card: AuditCard) -> dict[str, object]:
        share = self.headline_share
        row: dict[str, object] = {
            "strategy": card.strategy,
            "breakdown_share": card.breakdown.share,
            "breakdown_low": card.breakdown.low,
            "breakdown_high": card.breakdown.high,
            "breakdown": card.breakdown.text,
            "seconds_per_round": sum(card.seconds_per_round.values()),
            "seconds_per_aggregation": card.seconds_per_round.get("aggregate"),
            "memory": card.memory,
            "flags": ", ".join(dict.fromkeys(flag.kind for flag in card.flags)),
        }
        worst = lowest(rows_at(card, share))
        if worst is None:
            return row | {"undefined": card.undefined.get(f"{share:g}", f"no results for {share:g}")}
        clean = [each for each in card.clean if each.share == share]
        attacked = [each for each in card.attacked if each.share == share]
        costs = [each.cost for each in clean if each.cost is not None]
        weakest = rows_at(card, share)
        row |= spread("clean_accuracy", min((each.accuracy for each in clean), key=_mean))
        row |= spread("worst_accuracy", worst.accuracy)
        row |= spread("worst_class_accuracy", min((each.worst_class_accuracy for each in weakest), key=_mean))
        for threat in THREATS[1:]:
            found = worst_of(each for each in attacked if each.threat == threat)
            row |= spread(f"{threat}_success", None if found is None else found.success)
        return row | {
            **spread("robustness_cost", max(costs, key=_mean, default=None)),
            "worst_attack": worst.attack if isinstance(worst, Attacked) else "none",
            "worst_partition": worst.partition,
            "dominated_by": ", ".join(self.dominators.get(card.strategy, [])),
        }


def _worst_accuracy(card: AuditCard, share: float) -> float:
    worst = lowest(rows_at(card, share))
    return -1.0 if worst is None else worst.accuracy.mean


def _mean(measured: Measured) -> float:
    return measured.mean


def spread(name: str, measured: Measured | None) -> dict[str, object]:
    """Return mean and interval of a measure under three names."""
    values = (None, None, None) if measured is None else (measured.mean, measured.low, measured.high)
    return dict(zip(_ends(name), values, strict=True))


def _accuracies(row: Row) -> dict[str, object]:
    return spread("accuracy", row.accuracy) | spread("worst_class_accuracy", row.worst_class_accuracy)


def _ends(*names: str) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


_MEASURES = (
    "clean_accuracy",
    "worst_accuracy",
    "worst_class_accuracy",
    "targeted_success",
    "backdoor_success",
)
_COLUMNS = [
    "strategy", *_ends(*_MEASURES, "robustness_cost"), "breakdown_share", "breakdown_low", "breakdown_high",
    "breakdown", "worst_attack", "worst_partition", "seconds_per_round", "seconds_per_aggregation", "memory",
    "dominated_by", "flags", "undefined",
]  # fmt: skip
_FACTS = {"threat", "share", "partition", "attack", "family", "schedule", "knowledge", "knows_rule", "tuned"}
_LONG_COLUMNS = [
    "strategy", "threat", "share", "partition", "attack", "family", "schedule", "knowledge", "knows_rule",
    "tuned", *_ends("accuracy", "worst_class_accuracy", "success"),
]  # fmt: skip

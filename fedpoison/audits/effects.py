"""What each attack of an audit did to a strategy: the attacks that broke it, and those that did not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fedpoison.audits.card import AuditCard
from fedpoison.audits.protocol import PROTOCOLS, Protocol, Threat

SUCCEEDED = 0.5
"""Success from which an attack with a target breaks a strategy."""


@dataclass(frozen=True, kw_only=True)
class AttackEffect:
    """The strongest try of one attack against a strategy, on the partition where it harms most."""

    strategy: str
    attack: str
    """Spec with the strength that harms most."""
    threat: Threat
    partition: str
    share: float
    harm: float
    """Lost accuracy, or the success of an attack with a target, on the validation set."""
    broke: bool
    """Whether it lost more accuracy than the protocol allows, or succeeded in at least half of the cases."""

    @property
    def names(self) -> list[str]:
        """Names of the parts of the attack."""
        return attack_names(self.attack)

    @property
    def text(self) -> str:
        """The harm in words.

        >>> AttackEffect(strategy="krum", attack="alie", threat="untargeted", partition="iid", share=0.2,
        ...     harm=0.123, broke=True).text
        '-12 points'
        """
        percent = round(100 * self.harm)
        return f"{-percent:+d} points" if self.threat == "untargeted" else f"{percent} % success"


def attack_names(spec: str) -> list[str]:
    """Return the names of the parts of an attack, without their parameters.

    >>> attack_names("label-flip(mode=targeted)+scaled-update(factor=5.0)")
    ['label-flip', 'scaled-update']
    """
    return re.sub(r"\([^()]*\)", "", spec).split("+")


def attack_effects(card: AuditCard) -> list[AttackEffect]:
    """Return the effect of each attack that tuning tried, most harm first. Empty: the card has no tries.

    Attacks that differ only in their parameters or their schedule are one attack.
    """
    worst: dict[tuple[str, ...], AttackEffect] = {}
    for found in _effects(card):
        key = found.threat, *found.names
        if key not in worst or found.harm > worst[key].harm:
            worst[key] = found
    return sorted(worst.values(), key=lambda found: -found.harm)


def _effects(card: AuditCard) -> Iterator[AttackEffect]:
    clean = {(row.partition, row.share): row.accuracy.mean for row in card.clean}
    allowed = PROTOCOLS[card.protocol].broken if card.protocol in PROTOCOLS else Protocol.broken
    for row in card.tried:
        if not row.strongest or row.harm is None:
            continue
        untargeted = row.threat == "untargeted"
        harm = row.harm - (1 - clean[row.partition, row.share]) if untargeted else row.harm
        yield AttackEffect(
            strategy=card.strategy,
            attack=row.attack,
            threat=row.threat,
            partition=row.partition,
            share=row.share,
            harm=harm,
            broke=harm > allowed if untargeted else harm >= SUCCEEDED,
        )

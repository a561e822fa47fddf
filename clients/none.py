"""No attack: the malicious clients behave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clients.attack import Attack, Card


@dataclass(frozen=True, kw_only=True)
class NoAttack(Attack):
    """Do nothing: the clean run that every attack is compared with."""

    card: ClassVar = Card(paper="-", goal="none", idle_when="always")

    def idle(self, clients: int, malicious: int) -> str | None:
        return None

"""Several attacks as one: poisoned data, manipulated training and crafted updates, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clients.attack import Attack, AttackCard, ClientContext, CraftContext, Goal, Knowledge
from clients.samples import Samples
from clients.training import Trainer

_ORDER = (Knowledge.OWN, Knowledge.COLLUDING, Knowledge.OMNISCIENT)


@dataclass(frozen=True)
class Composite(Attack):
    """Apply the data part of each attack, then the training part of the last that has one, then each craft.

    Raises:
        ValueError: fewer than two parts, or two parts that both replace the training.
    """

    parts: tuple[Attack, ...]

    def __post_init__(self) -> None:
        if len(self.parts) <= 1:
            raise ValueError(f"parts: got {len(self.parts)}, wanted at least two attacks to combine.")
        if sum(trains(part) for part in self.parts) > 1:
            raise ValueError(f"{self.parts}: more than one of these replaces the local training; keep one.")

    @property
    def card(self) -> AttackCard:  # type: ignore[override]  # read off the parts, hence no class variable
        cards = [part.card for part in self.parts]
        return AttackCard(
            paper="; ".join(card.paper for card in cards),
            knowledge=max((card.knowledge for card in cards), key=_ORDER.index),
            knows_rule=any(card.knows_rule for card in cards),
            goal="; ".join(dict.fromkeys(card.goal for card in cards)),
        )

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        for part in self.parts:
            samples = part.poison_data(samples, trainer, context)
        return samples

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        chosen = next((part for part in self.parts if trains(part)), self.parts[0])
        return chosen.train(trainer, samples, context)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        for part in self.parts:
            own = part.craft(own, seen, context)
        return own

    def goal(self, classes: int) -> Goal | None:
        goals = [part.goal(classes) for part in self.parts]
        return next((goal for goal in goals if goal is not None), None)

    def idle(self, clients: int, malicious: int) -> str | None:
        reasons = [part.idle(clients, malicious) for part in self.parts]
        return "; ".join(reason for reason in reasons if reason) if all(reasons) else None


def poisons(attack: Attack) -> bool:
    """Return whether `attack`, or a part of it, edits data."""
    return any(type(part).poison_data is not Attack.poison_data for part in parts_of(attack))


def trains(attack: Attack) -> bool:
    """Return whether `attack`, or a part of it, replaces the local training."""
    return any(type(part).train is not Attack.train for part in parts_of(attack))


def parts_of(attack: Attack) -> tuple[Attack, ...]:
    """Return the parts of a composite, or the attack itself as its only part."""
    return attack.parts if isinstance(attack, Composite) else (attack,)

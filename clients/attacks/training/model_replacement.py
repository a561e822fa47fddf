"""Model replacement: the average becomes the attacker's model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attacks.base import AttackCard, CraftContext, Range, boosted
from clients.attacks.data.backdoor import Square, square_space
from clients.bounds import Positive


@dataclass(frozen=True, kw_only=True)
class ModelReplacement(Square):
    """Train a backdoored model and scale its update so that averaging puts it in the global one's place.

    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, "How To Backdoor Federated Learning", AISTATS 2020: the
    update gamma (x - w) with gamma = n / eta for a single attacker. Where honest updates cancel, as they
    do near convergence, the average is then the attackers' mean model.
    """

    factor: Positive | None = None
    """gamma; None is n / f, the clients of the round over the attackers among them."""

    card: ClassVar = AttackCard(
        paper="Bagdasaryan et al., AISTATS 2020",
        goal="have images with the trigger taken for `target`, and leave the rest alone",
        idle_when="share is 0, or factor is 1 without one",
        deviations="FLPoison scales by 50, BackFed by 25, the authors of DBA by 100, FedML by n.",
    )
    search_space: ClassVar = square_space(factor=Range(low=0.5, high=30.0, log=True))

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return boosted(own, self.factor, context)

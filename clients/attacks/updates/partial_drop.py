"""Partial drop: a random part of the own update is missing."""

from dataclasses import dataclass

from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Range, SearchSpace
from clients.bounds import Share
from clients.kernels import uniforms


@dataclass(frozen=True, kw_only=True)
class PartialDrop(Attack):
    """Send the own update with random coordinates set to 0.

    Guerraoui, Guirguis, Plassmann, Ragot, Rouault, "Garfield: System Support for Byzantine Machine
    Learning", DSN 2021.
    """

    share: Share = 0.3
    """Share of the coordinates that are set to 0, drawn per client and round."""

    card = AttackCard(
        paper="Guerraoui et al., DSN 2021",
        goal="take part with a part of the work",
        idle_when="share is 0",
    )
    search_space = SearchSpace(parameters={"share": Range(low=0.1, high=1.0)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return own * (uniforms(own, context.generator) >= self.share)

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share is 0: the honest update is sent" if not self.share else None

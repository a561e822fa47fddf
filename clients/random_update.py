"""The random update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attack import Attack, Card, CraftContext
from clients.draws import uniforms


@dataclass(frozen=True, kw_only=True)
class RandomUpdate(Attack):
    """Send uniform noise in place of the update, drawn anew by each client in each round.

    The arbitrary failures of Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries:
    Byzantine Tolerant Gradient Descent", NeurIPS 2017; `gaussian-update` is their normal form.
    """

    low: float = -1.0
    high: float = 1.0

    card: ClassVar = Card(
        paper="Blanchard et al., NeurIPS 2017",
        deviations="FedML draws from -1 to 1, as here; Garfield from 0 to 1.",
    )

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"got low {self.low}, high {self.high}; wanted low at most high.")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return uniforms(own, context.generator).mul_(self.high - self.low).add_(self.low)

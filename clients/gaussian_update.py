"""The Gaussian update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from clients.attack import Attack, Card, CraftContext
from clients.draws import normals


@dataclass(frozen=True, kw_only=True)
class GaussianUpdate(Attack):
    """Send Gaussian noise in place of the update, or on top of it.

    Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
    Gradient Descent", NeurIPS 2017.
    """

    std: float = 1.0
    mean: float = 0.0
    """Of the noise, in every coordinate; other than 0 it is a push that averaging does not cancel."""
    mode: Literal["replace", "add"] = "replace"

    card: ClassVar = Card(
        paper="Blanchard et al., NeurIPS 2017",
        deviations="ByzFL and FLPoison replace the update with N(0, 1), as here; Blades draws N(.1, .1).",
    )

    def __post_init__(self) -> None:
        if self.std < 0:
            raise ValueError(f"std: got {self.std}, wanted 0 or more.")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        noise = normals(own, context.generator).mul_(self.std).add_(self.mean)
        return noise.add_(own) if self.mode == "add" else noise

    def idle(self, clients: int, malicious: int) -> str | None:
        silent = not self.std and not self.mean and self.mode == "add"
        return "std and mean are 0 and mode is add: no noise" if silent else None

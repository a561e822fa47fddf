"""An update that is no number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.attack import Attack, Card, CraftContext


@dataclass(frozen=True, kw_only=True)
class NonFiniteUpdate(Attack):
    """Send NaN or infinity in every coordinate: one such update spoils any sum that takes it in.

    An arbitrary failure in the sense of Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with
    Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017. A server has to drop it before it
    aggregates.

    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(2))
    >>> NonFiniteUpdate(value="inf").craft(torch.tensor([[1.0, 3.0]]), None, context)
    tensor([[inf, inf]])
    """

    value: Literal["nan", "inf", "-inf"] = "nan"
    """`inf` is ByzFL's Inf, `nan` ByzantineMomentum's."""

    card: ClassVar = Card(
        paper="Blanchard et al., NeurIPS 2017",
        goal="make the model unusable",
        idle_when="the server drops what is not finite",
        finite=False,
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return torch.full_like(own, float(self.value))

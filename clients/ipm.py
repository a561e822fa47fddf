"""Inner-product manipulation: make the aggregate point away from the honest mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.moments import mean_of


@dataclass(frozen=True, kw_only=True)
class Ipm(Attack):
    """Send minus epsilon times the mean of the honest updates.

    Xie, Koyejo, Gupta, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation",
    UAI 2019.

    >>> import torch
    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(1))
    >>> Ipm(epsilon=0.5).craft(torch.tensor([[9.0]]), torch.tensor([[1.0], [3.0]]), context)
    tensor([[-1.]])
    """

    epsilon: float = 0.1
    """Small values slip past rules that select; the mean is turned only beyond (n - f) / f."""

    card: ClassVar = Card(
        paper="Xie et al., UAI 2019",
        knowledge=Knowledge.OMNISCIENT,
        deviations="Public defaults of epsilon run from 0.1 to 10.",
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        return (-self.epsilon * mean_of(visible)).expand_as(own).clone()

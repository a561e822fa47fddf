"""A scaled update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attack import Attack, Card, CraftContext


@dataclass(frozen=True, kw_only=True)
class ScaledUpdate(Attack):
    """Send the own update times a factor; a negative one pushes the model uphill.

    The boosting of Bagdasaryan, Veit, Hua, Estrin, Shmatikov, "How To Backdoor Federated Learning",
    AISTATS 2020, and with a negative factor the crude ascent of Blanchard et al., NeurIPS 2017.

    >>> import torch
    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(2))
    >>> ScaledUpdate(factor=-2.0).craft(torch.tensor([[1.0, 3.0]]), None, context)
    tensor([[-2., -6.]])
    """

    factor: float = -10.0

    card: ClassVar = Card(paper="Bagdasaryan et al., AISTATS 2020")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return self.factor * own

    def idle(self, clients: int, malicious: int) -> str | None:
        return "factor is 1: the honest update is sent" if self.factor == 1 else None

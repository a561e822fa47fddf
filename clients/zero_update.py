"""The zero update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from clients.attack import Attack, Card, CraftContext


@dataclass(frozen=True, kw_only=True)
class ZeroUpdate(Attack):
    """Send the global model back as it came.

    The plain free-rider of Fraboni, Vidal, Lorenzi, "Free-rider Attacks on Model Aggregation in Federated
    Learning", AISTATS 2021: it slows an average down and is invisible to rules that look for large updates.

    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(2))
    >>> ZeroUpdate().craft(torch.tensor([[1.0, 3.0]]), None, context)
    tensor([[0., 0.]])
    """

    card: ClassVar = Card(paper="Fraboni et al., AISTATS 2021", goal="take part without work")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return torch.zeros_like(own)

"""The sign-flipped update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attack import Attack, Card, CraftContext


@dataclass(frozen=True, kw_only=True)
class SignFlip(Attack):
    """Send minus the own update.

    Li, Xu, Chen, Giannakis, Ling, "RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed
    Learning from Heterogeneous Datasets", AAAI 2019.

    >>> import torch
    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(2))
    >>> SignFlip().craft(torch.tensor([[1.0, -3.0]]), None, context)
    tensor([[-1.,  3.]])
    """

    card: ClassVar = Card(
        paper="Li et al., AAAI 2019",
        deviations="ByzFL sends minus the honest mean (ipm with epsilon 1); FLPoison minus the own, as here.",
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return -own

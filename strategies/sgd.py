"""Federated averaging with server momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.rule import Card, State
from strategies.server_optimizer import decay, positive


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Add up the updates with momentum: v = momentum v + update, and step by lr v.

    Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", 2019 (FedAvgM).

    >>> import torch
    >>> step, state = SGD()(torch.tensor([1.0]), {})
    >>> SGD()(torch.tensor([1.0]), state)[0]
    tensor([1.9000])
    """

    lr: float = 1.0
    momentum: float = 0.9

    card: ClassVar = Card(
        paper="Hsu et al., 2019",
        needs=("history",),
        deviations="Flower's FedAvgM is the same; its default momentum is 0.",
        unanimous=False,
        translation_equivariant=False,
    )

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        decay("momentum", self.momentum)

    def __call__(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        velocity = self.momentum * state["velocity"] + update if state else update.clone()
        return self.lr * velocity, {"velocity": velocity}

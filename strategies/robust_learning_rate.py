"""The robust learning rate: turn back wherever too few clients agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.combination import combine
from strategies.rule import Aggregate, Card, Context, checked
from strategies.sign_votes import agreement, sign_votes


@dataclass(frozen=True, kw_only=True)
class RobustLearningRate:
    """Average the updates, and reverse the coordinates on whose sign too few clients agree.

    Özdayi, Kantarcioglu, Gel, "Defending against Backdoors in Federated Learning with Robust Learning
    Rate", AAAI 2021. A coordinate keeps its sign where the absolute sum of the clients' signs reaches
    `threshold`. The trust is a client's share in the average, times the share of coordinates in which its
    update points to where the result goes.

    >>> import torch
    >>> RobustLearningRate(threshold=2)(torch.tensor([[2.0, 3.0], [4.0, -1.0]])).update
    tensor([ 3., -1.])
    """

    threshold: int | None = None
    """How large the absolute sum of signs has to be; None is 4 for every 10 clients. It should lie well
    above the number of malicious clients, for their vote alone must not reach it."""

    card: ClassVar = Card(
        paper="Özdayi et al., AAAI 2021",
        precondition="n >= threshold",
        deviations="The authors' example runs set 4 with 10 clients a round; the default keeps that share.",
        translation_equivariant=False,
    )

    def __post_init__(self) -> None:
        if self.threshold is not None and self.threshold < 1:
            raise ValueError(f"threshold: got {self.threshold}, wanted 1 or more clients, or None.")

    @property
    def minimum(self) -> int:
        return self.threshold or 1

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, shares = checked(self, updates, weights)
        threshold = self.threshold or math.ceil(0.4 * len(updates))
        mean = combine(shares, updates)
        update = torch.where(sign_votes(updates).abs() >= threshold, mean, -mean)
        return Aggregate(update=update, trust=shares * agreement(updates, update) / updates.shape[1])

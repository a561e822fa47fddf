"""The robust learning rate: reverse the coordinates on which too few clients agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.sign_votes import agreement, sign_votes
from strategies.kernels.weighted_sums import combine


@dataclass(frozen=True, kw_only=True)
class RobustLearningRate(Rule):
    """Average the updates, and reverse the coordinates on whose sign too few clients agree.

    Özdayi, Kantarcioglu, Gel, "Defending against Backdoors in Federated Learning with Robust Learning
    Rate", AAAI 2021. A coordinate keeps its sign if the absolute sum of the clients' signs reaches
    `threshold`. The trust of a client is its share in the average, multiplied by the share of coordinates in
    which its update agrees in sign with the result.

    >>> import torch
    >>> RobustLearningRate(threshold=2)(torch.tensor([[2.0, 3.0], [4.0, -1.0]])).update
    tensor([ 3., -1.])
    """

    threshold: int | None = None
    """Smallest absolute sum of signs. Default: 4 for every 10 clients. It should be well above the number of
    malicious clients, so that their votes alone do not reach it."""

    card: ClassVar = RuleCard(
        paper="Özdayi et al., AAAI 2021",
        precondition="n >= threshold",
        deviations="The authors' runs use 4 with 10 clients per round, 8 with 40, and 8 with 1 % of 3,383 "
        "clients per round. The default keeps the share of the first.",
        translation_equivariant=False,
        uses_weights=True,
    )

    def __post_init__(self) -> None:
        if self.threshold is not None and self.threshold < 1:
            raise ValueError(f"threshold: got {self.threshold}, expected 1 or more clients, or None.")

    @property
    def minimum(self) -> int:
        return self.threshold or 1

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        threshold = self.threshold or math.ceil(0.4 * len(updates))
        mean = combine(shares, updates)
        update = torch.where(sign_votes(updates).abs() >= threshold, mean, -mean)
        return Aggregate(update=update, trust=shares * agreement(updates, update) / updates.shape[1])

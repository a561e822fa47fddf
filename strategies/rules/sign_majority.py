"""The majority vote on signs of signSGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.sign_votes import agreement, sign_votes
from strategies.parameters import positive


@dataclass(frozen=True, kw_only=True)
class SignMajority(Rule):
    """Move every coordinate by the same step, in the direction of most clients' signs.

    Bernstein, Zhao, Azizzadenesheli, Anandkumar, "signSGD with Majority Vote is Communication Efficient And
    Fault Tolerant", ICLR 2019. A coordinate does not move if its vote is tied. The trust of a client is its
    share of all votes for the majority.

    >>> import torch
    >>> SignMajority(step=0.5)(torch.tensor([[3.0, -1.0], [1.0, 2.0], [2.0, -9.0]])).update
    tensor([ 0.5000, -0.5000])
    """

    step: float | None = None
    """Step of each coordinate, the paper's learning rate. Default: the mean absolute coordinate of the median
    client, which keeps the usual length of updates and which no minority can increase."""

    search_space: ClassVar = {"step": (0.0003, 0.001, 0.003, 0.01)}
    card: ClassVar = RuleCard(
        paper="Bernstein et al., ICLR 2019",
        deviations="The paper's clients send signs of gradients; here the server takes the signs of updates.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,  # with a fixed step
    )

    def __post_init__(self) -> None:
        positive(step=1 if self.step is None else self.step)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        majority = sign_votes(updates).sign().to(updates.dtype)
        step = typical_magnitude(updates) if self.step is None else self.step
        followed = agreement(updates, majority)
        return Aggregate(update=majority * step, trust=followed / followed.sum().clamp(min=1))


def typical_magnitude(updates: Tensor) -> Tensor:
    """Return the median over the clients of their mean absolute coordinate, ()."""
    magnitudes: Tensor = torch.linalg.vector_norm(updates, ord=1, dim=1) / updates.shape[1]
    if not bool(magnitudes.isfinite().all()) or magnitudes.dtype == torch.bfloat16:  # no quantile in bfloat16
        sums: Tensor = torch.linalg.vector_norm(updates, ord=1, dim=1, dtype=torch.float64)
        return (sums / updates.shape[1]).quantile(0.5).to(updates.dtype)
    return magnitudes.quantile(0.5)

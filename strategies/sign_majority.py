"""The majority vote on signs of signSGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.rule import Aggregate, Card, Context, checked
from strategies.sign_votes import agreement, sign_votes


@dataclass(frozen=True, kw_only=True)
class SignMajority:
    """Move every coordinate by one and the same step, in the direction that most clients vote for.

    Bernstein, Zhao, Azizzadenesheli, Anandkumar, "signSGD with Majority Vote is Communication Efficient And
    Fault Tolerant", ICLR 2019. A coordinate whose vote is tied stays where it is. The trust is the share of
    coordinates in which a client was with the majority.

    >>> import torch
    >>> SignMajority(step=0.5)(torch.tensor([[3.0, -1.0], [1.0, 2.0], [2.0, -9.0]])).update
    tensor([ 0.5000, -0.5000])
    """

    step: float | None = None
    """How far each coordinate moves, the paper's learning rate. None keeps the length of usual updates: the
    mean absolute coordinate of the median client, which no minority can blow up."""

    card: ClassVar = Card(
        paper="Bernstein et al., ICLR 2019",
        deviations="The paper's clients send signs of gradients; here the server takes the signs of updates.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,  # with a step of one's own
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.step is not None and not self.step > 0:
            raise ValueError(f"step: got {self.step}, wanted a positive number, or None.")

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        majority = sign_votes(updates).sign().to(updates.dtype)
        step = usual_magnitude(updates) if self.step is None else self.step
        followed = agreement(updates, majority)
        return Aggregate(update=majority * step, trust=followed / followed.sum().clamp(min=1))


def usual_magnitude(updates: Tensor) -> Tensor:
    """Return the median over the clients of their mean absolute coordinate, a scalar."""
    magnitudes: Tensor = torch.linalg.vector_norm(updates, ord=1, dim=1) / updates.shape[1]
    return magnitudes.quantile(0.5)

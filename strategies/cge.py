"""CGE: comparative gradient elimination, which drops the longest updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.checked_norms import checked_norms
from strategies.combination import mean_of
from strategies.rule import Aggregate, Card, Context, tolerated


@dataclass(frozen=True, kw_only=True)
class CGE:
    """Average the n - f updates with the smallest norms.

    Gupta, Liu, Vaidya, "Byzantine Fault-Tolerant Distributed Machine Learning Using Stochastic Gradient
    Descent (SGD) and Norm-Based Comparative Gradient Elimination (CGE)", 2020. Of equal norms the first
    client's wins.

    >>> import torch
    >>> CGE(byzantine=1)(torch.tensor([[1.0], [-2.0], [50.0]])).update
    tensor([-0.5000])
    """

    byzantine: int = 0

    card: ClassVar = Card(
        paper="Gupta, Liu, Vaidya, 2020",
        needs=("byzantine",),
        precondition="n > 2f",
        deviations="The paper's sum of the kept gradients is an average here, as in ByzantineMomentum.",
        translation_equivariant=False,
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)

    @property
    def minimum(self) -> int:
        return 2 * self.byzantine + 1

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        _, norms = checked_norms(self, updates, weights)
        nearest = norms.sort(stable=True).indices
        return mean_of(nearest[: len(updates) - self.byzantine], updates)

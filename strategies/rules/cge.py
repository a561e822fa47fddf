"""CGE: comparative gradient elimination, which rejects the longest updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard, finite_norms
from strategies.kernels.weighted_sums import mean_of_lowest
from strategies.tolerance import RelaxableRule


@dataclass(frozen=True, kw_only=True)
class CGE(RelaxableRule):
    """Average the n - f updates with the smallest norms.

    Gupta, Liu, Vaidya, "Byzantine Fault-Tolerant Distributed Machine Learning Using Stochastic Gradient
    Descent (SGD) and Norm-Based Comparative Gradient Elimination (CGE)", 2020. Of equal norms, the
    first clients' are kept.

    >>> import torch
    >>> CGE(byzantine=1)(torch.tensor([[1.0], [-2.0], [50.0]])).update
    tensor([-0.5000])
    """

    card: ClassVar = RuleCard(
        paper="Gupta, Liu, Vaidya, 2020",
        needs=("byzantine",),
        precondition="n > 2f",
        deviations="The paper's sum of the kept gradients is an average here, as in ByzantineMomentum.",
        translation_equivariant=False,
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )
    checks_values: ClassVar[bool] = True

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        return mean_of_lowest(finite_norms(updates), len(updates) - self.byzantine, updates)

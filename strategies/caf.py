"""CAF: the covariance-bound agnostic filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.combination import weighted
from strategies.distances import squared_distances
from strategies.principal_direction import principal_direction, without_farthest
from strategies.rule import Aggregate, Card, Context, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class CAF:
    """Weigh down what deviates along the direction of largest variance; return the mean that varied least.

    Allouah, Guerraoui, Stephan, "Towards Trustworthy Federated Learning with Untrusted Participants",
    ICML 2025. While the weights c sum to more than n - 2f: c_i <- c_i (1 - t_i / max t), where t_i is the
    squared deviation of update i from the weighted mean along the top eigenvector of the weighted
    covariance and the maximum is over those with weight. Of the means met on the way, the one with the
    smallest top eigenvalue comes out.

    >>> import torch
    >>> CAF(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [2.0], [90.0]])).trust
    tensor([0.2481, 0.2500, 0.2519, 0.2500, 0.0000], dtype=torch.float64)
    """

    byzantine: int = 0

    card: ClassVar = Card(
        paper="Allouah et al., ICML 2025",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n^2 d)",
        deviations="The exact eigenvector; ByzFL takes one step of power iteration from a random start. Its "
        "maximum includes clients that are out already, so that a far one holds up the filter.",
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)

    @property
    def minimum(self) -> int:
        return 2 * self.byzantine + 1

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        squared, n = squared_distances(updates), len(updates)
        kept = torch.ones(n, dtype=torch.float64, device=updates.device)
        best, smallest = kept, math.inf
        while bool(kept.sum() > n - 2 * self.byzantine):
            variance, deviations = principal_direction(squared, kept)
            if variance < smallest:
                best, smallest = kept, variance
            if variance == 0:
                break
            kept = without_farthest(kept, deviations)
        return weighted(best / best.sum(), updates)

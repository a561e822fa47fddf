"""CAF: the covariance-bound agnostic filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard
from strategies.kernels.distances import squared_distances
from strategies.kernels.spectral import principal_direction, without_farthest
from strategies.kernels.weighted_sums import weighted
from strategies.tolerance import RelaxableRule


@dataclass(frozen=True, kw_only=True)
class CAF(RelaxableRule):
    """Reduce the weights of updates that deviate along the direction of largest variance, and average.

    Allouah, Guerraoui, Stephan, "Towards Trustworthy Federated Learning with Untrusted Participants",
    ICML 2025. While the weights c sum to more than n - 2f: c_i <- c_i (1 - t_i / max t), where t_i is the
    squared deviation of update i from the weighted mean along the top eigenvector of the weighted
    covariance and the maximum is over the updates of positive weight. The result is the mean of the weights
    with the smallest top eigenvalue.

    >>> import torch
    >>> CAF(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [2.0], [90.0]])).trust
    tensor([0.2481, 0.2500, 0.2519, 0.2500, 0.0000], dtype=torch.float64)
    """

    card: ClassVar = RuleCard(
        paper="Allouah et al., ICML 2025",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n^2 d)",
        deviations="The exact eigenvector; ByzFL takes one step of power iteration from a random start. Its "
        "maximum includes clients of weight 0, so that a far client stops the filter.",
        mean_without_byzantine=True,
    )

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        squared, n = squared_distances(updates), len(updates)
        kept = torch.ones(n, dtype=torch.float64, device=updates.device)
        best, smallest = kept, math.inf
        while bool(kept.sum() > max(0, n - 2 * self.byzantine)):
            variance, deviations = principal_direction(squared, kept)
            if variance < smallest:
                best, smallest = kept, variance
            if variance == 0:
                break
            kept = without_farthest(kept, deviations)
        return weighted(best / best.sum(), updates)

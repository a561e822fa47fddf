"""Three sigma: reject the updates that are far from the geometric median, by the clients' own spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, refuse_non_finite
from strategies.kernels.distances import row_norms
from strategies.kernels.weighted_sums import mean_of
from strategies.parameters import limit
from strategies.rules.geometric_median import GeometricMedian


@dataclass(frozen=True, kw_only=True)
class ThreeSigma(Rule):
    """Average the updates whose distance from the geometric median is ordinary.

    Han et al., "FedMLSecurity: A Benchmark for Attacks and Defenses in Federated Learning and Federated
    LLMs", KDD 2024. A distance is ordinary if it is at most the mean distance plus `bound` standard
    deviations. Among n clients, no distance is more than (n - 1) / sqrt(n) standard deviations above the
    mean. So a bound of 3, which gives the rule its name, rejects no client among 10 or fewer.

    >>> import torch
    >>> ThreeSigma()(torch.tensor([[1.0], [1.1], [0.9], [1.0], [9.0]])).update
    tensor([1.])
    """

    bound: float = 1.0
    """Largest distance above the mean distance, in standard deviations."""

    search_space: ClassVar = {"bound": (0.5, 1.0, 2.0, 3.0)}
    card: ClassVar = RuleCard(
        paper="Han et al., KDD 2024",
        cost="O(n^2 d)",
        deviations="FedML looks at the output layer's weights, and computes the median, the mean and the "
        "standard deviation in the first round alone. Its default bound is 1, or 2 with FoolsGold's scores.",
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        limit(bound=self.bound)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        equal = torch.full_like(shares, 1 / len(updates))
        centre = GeometricMedian().aggregate(updates, equal, context).update
        distances = row_norms(updates, origin=centre)
        refuse_non_finite(updates, distances)
        if not bool(distances.isfinite().all()):
            raise OverflowError("the distances overflow")
        spread = distances.std() if len(updates) > 1 else distances.new_zeros(())
        kept = distances <= distances.mean() + self.bound * spread
        return mean_of((kept | (distances == distances.min())).nonzero().flatten(), updates)

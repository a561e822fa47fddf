"""The coordinate-wise median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.order_statistics import shares_within
from strategies.kernels.weighted_sums import coordinate_wise


@dataclass(frozen=True, kw_only=True)
class Median(Rule):
    """Compute the median of every coordinate.

    For even n, the median is the mean of the two middle values (Yin, Chen, Ramchandran, Bartlett,
    "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018).

    >>> import torch
    >>> Median()(torch.tensor([[1.0, 5.0], [2.0, 0.0], [9.0, 1.0]])).update
    tensor([2., 1.])
    """

    card: ClassVar = RuleCard(
        paper="Yin et al., ICML 2018",
        cost="O(n log n d)",
        deviations="torch.median alone returns the lower middle value for even n, which is biased; NumPy, "
        "ByzFL and Flower average the two middle values, as here. FedRDF (Marmol Campos et al., IEEE TETC "
        "2025) takes the sorted value at the place of the largest discrete frequency; in the authors' code, "
        "the place depends on n alone, and the value is the upper middle one.",
        coordinate_wise=True,
    )

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n = len(updates)
        low, high = (n - 1) // 2, n // 2

        # `middle` in `medians` computes the same, but the two values are also the bounds of the kept values.
        def middle(ordered: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            below, above = ordered[:, low], ordered[:, high]
            return below + (above - below) / 2, shares_within(values, below, above)

        return coordinate_wise(updates, middle)

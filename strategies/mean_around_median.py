"""Meamed: the coordinate-wise mean around the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.medians import middle
from strategies.nearest_values import mean_of_nearest
from strategies.order_statistics import over_sorted_columns
from strategies.rule import Aggregate, Card, Context, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class MeanAroundMedian:
    """Average, in every coordinate, the n - f values nearest to the median.

    Xie, Koyejo, Gupta, "Generalized Byzantine-tolerant SGD", 2018. Of two values equally far from the
    median the smaller one is kept.

    >>> import torch
    >>> MeanAroundMedian(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [100.0]])).update
    tensor([2.])
    """

    byzantine: int = 0

    card: ClassVar = Card(
        paper="Xie, Koyejo, Gupta, 2018",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
        deviations="ByzFL's Meamed is the same; its choice between equally near values is left to its sort.",
        mean_without_byzantine=True,
        coordinate_wise=True,
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
        nearest = len(updates) - self.byzantine

        def around_median(ordered: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            return mean_of_nearest(ordered, values, middle(ordered), nearest)

        update, kept = over_sorted_columns(updates, around_median)
        return Aggregate(update=update, trust=kept / kept.sum())

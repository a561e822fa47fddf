"""Phocas: the coordinate-wise mean around the trimmed mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.nearest_values import mean_of_nearest
from strategies.order_statistics import over_sorted_columns
from strategies.rule import Aggregate, Card, Context, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class Phocas:
    """Average, in every coordinate, the n - f values nearest to the trimmed mean.

    Xie, Koyejo, Gupta, "Phocas: dimensional Byzantine-resilient stochastic gradient descent", 2018. The
    trimmed mean drops the f largest and smallest values. Of two values equally far from it the smaller one
    is kept.

    >>> import torch
    >>> Phocas(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [100.0]])).update
    tensor([2.])
    """

    byzantine: int = 0

    card: ClassVar = Card(
        paper="Xie, Koyejo, Gupta, 2018",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
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

        def around_trimmed_mean(ordered: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            centre = ordered[:, self.byzantine : nearest].mean(dim=1)
            return mean_of_nearest(ordered, values, centre, nearest)

        update, kept = over_sorted_columns(updates, around_trimmed_mean)
        return Aggregate(update=update, trust=kept / kept.sum())

"""The coordinate-wise median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.order_statistics import over_sorted_columns, shares_within
from strategies.rule import Aggregate, Card, Context, checked


@dataclass(frozen=True, kw_only=True)
class Median:
    """Take the median of every coordinate; for even n, the mean of the two middle values.

    Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical
    Rates", ICML 2018.

    >>> import torch
    >>> Median()(torch.tensor([[1.0, 5.0], [2.0, 0.0], [9.0, 1.0]])).update
    tensor([2., 1.])
    """

    card: ClassVar = Card(
        paper="Yin et al., ICML 2018",
        cost="O(n log n d)",
        deviations="A bare torch.median takes the lower middle for even n, which is biased; NumPy, ByzFL and "
        "Flower average the two middles, as here.",
        coordinate_wise=True,
    )
    minimum: ClassVar[int] = 1

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        n = len(updates)
        low, high = (n - 1) // 2, n // 2

        def middle(ordered: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            below, above = ordered[:, low], ordered[:, high]
            return below + (above - below) / 2, shares_within(values, below, above)

        update, kept = over_sorted_columns(updates, middle)
        return Aggregate(update=update, trust=kept / kept.sum())

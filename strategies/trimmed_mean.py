"""The coordinate-wise trimmed mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.order_statistics import over_sorted_columns, shares_within
from strategies.rule import Aggregate, Card, Context, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class TrimmedMean:
    """Drop the `byzantine` largest and smallest values of every coordinate and average the rest.

    Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical
    Rates", ICML 2018.

    >>> import torch
    >>> TrimmedMean(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [100.0]])).update
    tensor([2.5000])
    """

    byzantine: int = 0

    card: ClassVar = Card(
        paper="Yin et al., ICML 2018",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
        deviations="Cuts f values at each end, as ByzFL and Blades do; Flower cuts int(0.2 n) at each end.",
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
        low, high = self.byzantine, len(updates) - self.byzantine

        def core(ordered: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            kept = ordered[:, low:high]
            return kept.mean(dim=1), shares_within(values, kept[:, 0], kept[:, -1])

        update, kept = over_sorted_columns(updates, core)
        return Aggregate(update=update, trust=kept / kept.sum())

"""Aksel: average what lies near the coordinate-wise median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from strategies.combination import mean_of
from strategies.distances import row_norms
from strategies.median import Median
from strategies.rule import Aggregate, Card, Context, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class Aksel:
    """Average the n - f updates nearest to the coordinate-wise median.

    Boussetta, El Mhamdi, Guerraoui, Maurer, Rouault, "AKSEL: Fast Byzantine SGD", OPODIS 2020. Of equal
    distances the first client's wins.

    >>> import torch
    >>> Aksel(byzantine=1)(torch.tensor([[1.0], [2.0], [6.0], [90.0]])).update
    tensor([3.])
    """

    byzantine: int = 0
    keep: Literal["n-f", "half"] = "n-f"
    """How many to average: n - f, or (n + 1) // 2 whatever f is, which is ByzantineMomentum's default."""

    card: ClassVar = Card(
        paper="Boussetta et al., OPODIS 2020",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
        deviations="ByzantineMomentum takes the lower of two middle values as the median: even n may differ.",
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)
        if self.keep not in {"n-f", "half"}:
            raise ValueError(f"keep: got {self.keep!r}, wanted 'n-f' or 'half'.")

    @property
    def minimum(self) -> int:
        return 2 * self.byzantine + 1

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        n = len(updates)
        nearest = row_norms(updates, origin=Median()(updates).update).sort(stable=True).indices
        kept = n - self.byzantine if self.keep == "n-f" else (n + 1) // 2
        return mean_of(nearest[:kept], updates)

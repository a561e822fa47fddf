"""Aksel: the mean of the updates near the coordinate-wise median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard
from strategies.kernels.distances import row_norms
from strategies.kernels.weighted_sums import mean_of_lowest
from strategies.parameters import one_of
from strategies.rules.median import Median
from strategies.tolerance import RelaxableRule


@dataclass(frozen=True, kw_only=True)
class Aksel(RelaxableRule):
    """Average the n - f updates nearest to the coordinate-wise median.

    Boussetta, El Mhamdi, Guerraoui, Maurer, Rouault, "AKSEL: Fast Byzantine SGD", OPODIS 2020. Of equally
    far updates, the first clients' are kept.

    >>> import torch
    >>> Aksel(byzantine=1)(torch.tensor([[1.0], [2.0], [6.0], [90.0]])).update
    tensor([3.])
    """

    keep: Literal["n-f", "half"] = "n-f"
    """Number of updates to average: n - f, or (n + 1) // 2 for every f, as in ByzantineMomentum."""

    card: ClassVar = RuleCard(
        paper="Boussetta et al., OPODIS 2020",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
        deviations="ByzantineMomentum's median is the lower of two middle values, so even n may differ.",
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("n-f", "half", keep=self.keep)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n = len(updates)
        median = Median().aggregate(updates, shares, context).update
        kept = n - self.byzantine if self.keep == "n-f" else (n + 1) // 2
        return mean_of_lowest(row_norms(updates, origin=median), kept, updates)

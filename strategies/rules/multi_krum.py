"""Multi-Krum: average the updates with the best Krum scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard, refuse_non_finite
from strategies.kernels.distances import Power, krum_scores, squared_distances
from strategies.kernels.weighted_sums import mean_of_lowest
from strategies.tolerance import RelaxableRule


@dataclass(frozen=True, kw_only=True)
class MultiKrum(RelaxableRule):
    """Average the `select` updates with the smallest Krum scores.

    Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
    Gradient Descent", NeurIPS 2017.

    >>> import torch
    >>> MultiKrum(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [2.0], [50.0]])).update
    tensor([2.])
    """

    select: int | None = None
    """Number of updates to average. Default: n - f."""
    excluded: Literal[1, 2] = 2
    """Each score counts n - f - `excluded` neighbours, as in Krum."""
    power: Power = 2
    """Exponent of the distance, as in Krum."""

    card: ClassVar = RuleCard(
        paper="Blanchard et al., NeurIPS 2017",
        needs=("byzantine",),
        precondition="n > 2f + 2",
        cost="O(n^2 d)",
        deviations="ByzFL averages n - f as here; Flower's default is 1, others n - f - 2: see `select`. "
        "With `strict` false, a score counts at least 1 neighbour.",
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select is not None and self.select < 1:
            raise ValueError(f"select: got {self.select}, expected at least 1 update to average.")

    @property
    def guaranteed(self) -> int:
        return max(2 * self.byzantine + 3, self.select or 0)

    @property
    def defined(self) -> int:
        return max(self.byzantine + 2, self.select or 0)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        squared = squared_distances(updates)
        refuse_non_finite(updates, squared)
        honest = len(updates) - self.byzantine
        scores = krum_scores(squared, neighbours=max(1, honest - self.excluded), power=self.power)
        return mean_of_lowest(scores, self.select or honest, updates)

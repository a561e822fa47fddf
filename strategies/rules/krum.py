"""Krum: select the update that is closest to its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard, refuse_non_finite
from strategies.kernels.distances import Power, krum_scores, squared_distances
from strategies.kernels.weighted_sums import mean_of
from strategies.tolerance import RelaxableRule


@dataclass(frozen=True, kw_only=True)
class Krum(RelaxableRule):
    """Select the update with the smallest sum of squared distances to its n - f - 2 nearest others.

    Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
    Gradient Descent", NeurIPS 2017. Of equal scores, the first client's
    update is selected.

    >>> import torch
    >>> Krum(byzantine=1)(torch.tensor([[1.0], [3.0], [4.0], [6.0], [50.0]])).trust
    tensor([0., 1., 0., 0., 0.], dtype=torch.float64)
    """

    excluded: Literal[1, 2] = 2
    """Each score counts n - f - `excluded` neighbours: 2 is the paper's, 1 is ByzFL's and FLPoison's."""
    power: Power = 2
    """Exponent of the distance: 2 is the paper's, 1 FLPoison's, 4 Blades' and the bucketing authors'."""

    card: ClassVar = RuleCard(
        paper="Blanchard et al., NeurIPS 2017",
        needs=("byzantine",),
        precondition="n > 2f + 2",
        cost="O(n^2 d)",
        deviations="Neighbours and exponent differ between libraries: see `excluded` and `power`. ByzFL and "
        "Flower also take n <= 2f + 2, as here with `strict` false: scores then count at least 1 neighbour.",
        rotation_equivariant=True,
    )
    checks_values: ClassVar[bool] = True

    @property
    def guaranteed(self) -> int:
        return 2 * self.byzantine + 3

    @property
    def defined(self) -> int:
        return self.byzantine + 2

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        squared = squared_distances(updates)
        refuse_non_finite(updates, squared)
        neighbours = max(1, len(updates) - self.byzantine - self.excluded)
        scores = krum_scores(squared, neighbours=neighbours, power=self.power)
        return mean_of(scores.argmin().reshape(1), updates)

"""Federated averaging: the weighted mean, the baseline of every robust rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, refuse_non_finite
from strategies.kernels.weighted_sums import weighted


@dataclass(frozen=True, kw_only=True)
class FedAvg(Rule):
    """Average the updates, weighted by the clients' numbers of examples.

    McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks
    from Decentralized Data", AISTATS 2017.

    >>> import torch
    >>> FedAvg()(torch.tensor([[0.0], [4.0]]), torch.tensor([3.0, 1.0])).update
    tensor([1.])
    """

    card: ClassVar = RuleCard(
        paper="McMahan et al., AISTATS 2017",
        deviations="ByzFL, Blades and FLPoison do not weight; Flower does. Without weights: the plain mean.",
        mean_without_byzantine=True,
        rotation_equivariant=True,
        coordinate_wise=True,
        uses_weights=True,
    )
    checks_values: ClassVar[bool] = True

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        if not bool(shares.all()):  # rows of weight 0 leave no trace in the mean
            refuse_non_finite(updates)
        mean = weighted(shares, updates)
        refuse_non_finite(updates, mean.update)
        return mean

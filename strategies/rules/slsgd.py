"""SLSGD: move part of the way to the trimmed mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard
from strategies.parameters import fraction
from strategies.rules.trimmed_mean import TrimmedMean
from strategies.tolerance import ByzantineRule


@dataclass(frozen=True, kw_only=True)
class SLSGD(ByzantineRule):  # not relaxable: it is a trimmed mean
    """Compute `alpha` times the trimmed mean, which mixes the old model with the mean of the new models.

    Xie, Koyejo, Gupta, "SLSGD: Secure and Efficient Distributed On-device Machine Learning", ECML PKDD
    2019: the new model is (1 - alpha) times the old one plus alpha times the aggregate.

    >>> import torch
    >>> SLSGD(byzantine=1, alpha=0.5)(torch.tensor([[1.0], [2.0], [3.0], [100.0]])).update
    tensor([1.2500])
    """

    alpha: float = 0.8
    """Share of the aggregate in the new model."""

    search_space: ClassVar = {"alpha": (0.5, 0.8, 1.0)}
    card: ClassVar = RuleCard(
        paper="Xie et al., ECML PKDD 2019",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
        deviations="The paper may lower alpha during training; here it is constant.",
        unanimous=False,
        translation_equivariant=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction(alpha=self.alpha)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        trimmed = TrimmedMean(byzantine=self.byzantine).aggregate(updates, shares, context)
        return Aggregate(update=self.alpha * trimmed.update, trust=self.alpha * trimmed.trust)

"""SLSGD: move only part of the way to the trimmed mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.rule import Aggregate, Card, Context, checked, tolerated
from strategies.trimmed_mean import TrimmedMean


@dataclass(frozen=True, kw_only=True)
class SLSGD:
    """Take `alpha` times the trimmed mean, which mixes the old model with the trimmed mean of the new ones.

    Xie, Koyejo, Gupta, "SLSGD: Secure and Efficient Distributed On-device Machine Learning", ECML PKDD
    2019: the new model is (1 - alpha) times the old one plus alpha times the aggregate.

    >>> import torch
    >>> SLSGD(byzantine=1, alpha=0.5)(torch.tensor([[1.0], [2.0], [3.0], [100.0]])).update
    tensor([1.2500])
    """

    byzantine: int = 0
    alpha: float = 0.8
    """The share of the aggregate in the new model."""

    card: ClassVar = Card(
        paper="Xie et al., ECML PKDD 2019",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
        deviations="The paper may lower alpha during training; here it stays.",
        unanimous=False,
        translation_equivariant=False,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha: got {self.alpha}, wanted more than 0 and at most 1.")

    @property
    def minimum(self) -> int:
        return 2 * self.byzantine + 1

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        trimmed = TrimmedMean(byzantine=self.byzantine)(updates, weights, context)
        return Aggregate(update=self.alpha * trimmed.update, trust=self.alpha * trimmed.trust)

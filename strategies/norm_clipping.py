"""Norm clipping: nobody moves the model further than a given length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.checked_norms import checked_norms
from strategies.clip_factors import clip_factors
from strategies.combination import weighted
from strategies.knobs import positive
from strategies.rule import Aggregate, Card, Context


@dataclass(frozen=True, kw_only=True)
class NormClipping:
    """Cut every update to the norm `clip` and average, weighted by the clients' example counts.

    Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019. The trust of a
    client is its share times what the cut left of its update.

    >>> import torch
    >>> NormClipping(clip=1.0)(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).update
    tensor([0.3000, 0.4000])
    """

    clip: float = 3.0

    card: ClassVar = Card(
        paper="Sun et al., 2019",
        deviations="The paper tries several bounds; FLPoison's is 3, ByzFL's 2, FedML's 5.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
        rotation_equivariant=True,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        positive(clip=self.clip)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        shares, norms = checked_norms(self, updates, weights)
        return weighted(shares * clip_factors(norms, self.clip), updates)

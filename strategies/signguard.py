"""SignGuard: look at how many coordinates go up, go down or stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.clip_factors import clip_factors
from strategies.combination import weighted
from strategies.distances import row_norms
from strategies.mean_shift import mean_shift
from strategies.medians import median_of
from strategies.noise import stream_of
from strategies.rule import Aggregate, Card, Context, checked


@dataclass(frozen=True, kw_only=True)
class SignGuard:
    """Average, clipped to the median norm, the updates of ordinary norm in the largest cluster of signs.

    Xu, Huang, Song, Lan, "SignGuard: Byzantine-robust Federated Learning through Collaborative Malicious
    Gradient Filtering", ICDCS 2022. A norm is ordinary from `low` to `high` times the median. The shares of
    positive, zero and negative coordinates, on a random sample of them, are clustered by mean shift. If no
    update passes both filters, the model stays.
    """

    low: float = 0.1
    high: float = 3.0
    share: float = 0.1
    """The share of the coordinates whose signs are counted."""

    card: ClassVar = Card(
        paper="Xu et al., ICDCS 2022",
        needs=("randomness",),
        deviations="The plain SignGuard of the paper, without the cosine or distance feature of its "
        "variants. The authors' code counts signs in one block of neighbouring coordinates and scales each "
        "share by its largest; FLPoison clusters by DBSCAN, Blades by k-means.",
        translation_equivariant=False,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1 <= self.high:
            raise ValueError(f"low, high: got {self.low}, {self.high}, wanted 0 <= low <= 1 <= high.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share: got {self.share}, wanted more than 0 and at most 1.")

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        sizes = row_norms(updates)
        bound = median_of(sizes)
        ordinary = (sizes >= self.low * bound) & (sizes <= self.high * bound)
        count = max(1, int(self.share * updates.shape[1]))
        sampled = torch.randperm(updates.shape[1], generator=stream_of(context))[:count].sort().values
        signs = updates[:, sampled.to(updates.device)].sign()
        up, down = ((signs == sign).sum(dim=1).double() for sign in (1, -1))
        # Counts cluster as shares do, and their sums are exact in any order of clients.
        clusters = mean_shift(torch.stack([up, count - up - down, down], dim=1).cpu())
        largest = clusters[clusters >= 0].bincount().argmax()
        kept = ordinary & (clusters == largest).to(updates.device)
        trust = torch.where(kept, clip_factors(sizes, bound), 0) / kept.sum().clamp(min=1)
        return weighted(trust, updates)

"""SignGuard: cluster the updates by their numbers of positive, zero and negative coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, finite_norms
from strategies.kernels.client_memory import round_generator
from strategies.kernels.order_statistics import median_of
from strategies.kernels.weighted_sums import clip_factors, weighted
from strategies.parameters import fraction

SAME = 1e-6
"""The least bandwidth: points closer than this are one."""
PASSES = 300
EXACT = "donot_use_mm_for_euclid_dist"


def mean_shift(points: Tensor, *, quantile: float = 0.5) -> Tensor:
    """Return the cluster of each of `points` (n, k), the densest peak's first, -1 for points far from any.

    Comaniciu, Meer, "Mean Shift: A Robust Approach toward Feature Space Analysis", TPAMI 2002. The window's
    radius is the mean distance to the nearest `quantile` of the points, as in scikit-learn, which climbs
    from one point at a time; here all climb at once.

    >>> mean_shift(torch.tensor([[0.0], [0.1], [0.0], [5.0]]))
    tensor([0, 0, 0, 1])
    """
    nearest = max(1, int(quantile * len(points)))
    radius = torch.cdist(points, points, compute_mode=EXACT).sort(dim=1).values[:, nearest - 1]
    radius = radius.sort().values.mean().clamp(min=SAME)
    peaks = points
    for _ in range(PASSES):
        inside = (torch.cdist(peaks, points, compute_mode=EXACT) <= radius).to(points.dtype)
        moved = inside @ points / inside.sum(dim=1, keepdim=True)
        shift = (moved - peaks).norm(dim=1).max()
        peaks = moved
        if shift <= 1e-3 * radius:
            break
    crowd = (torch.cdist(peaks, points, compute_mode=EXACT) <= radius).sum(dim=1)
    centres: list[Tensor] = []
    for index in sorted(range(len(points)), key=lambda i: (int(crowd[i]), peaks[i].tolist()), reverse=True):
        if all(float((peaks[index] - centre).norm()) > radius for centre in centres):
            centres.append(peaks[index])
    distance, label = torch.cdist(points, torch.stack(centres), compute_mode=EXACT).min(dim=1)
    return torch.where(distance <= radius, label, -1)


@dataclass(frozen=True, kw_only=True)
class SignGuard(Rule):
    """Average the clipped updates of ordinary norm in the largest cluster of signs.

    Xu, Huang, Song, Lan, "SignGuard: Byzantine-robust Federated Learning through Collaborative Malicious
    Gradient Filtering", ICDCS 2022. A norm is ordinary if it is `low` to `high` times the median norm. Mean
    shift clusters the shares of positive, zero and negative coordinates in a random sample of the
    coordinates. The updates are clipped to the median norm. If no update passes both filters, the model does
    not change.
    """

    low: float = 0.1
    """Smallest ordinary norm as a multiple of the median norm."""
    high: float = 3.0
    """Largest ordinary norm as a multiple of the median norm."""
    share: float = 0.1
    """Share of the coordinates whose signs are counted."""

    search_space: ClassVar = {"high": (1.5, 3.0, 10.0), "share": (0.1, 0.5, 1.0)}
    card: ClassVar = RuleCard(
        paper="Xu et al., ICDCS 2022",
        needs=("randomness",),
        deviations="The plain SignGuard of the paper, without the cosine or distance feature of its "
        "variants. The authors' code counts signs in one block of neighbouring coordinates and scales each "
        "share by its largest; FLPoison clusters by DBSCAN, Blades by k-means.",
        translation_equivariant=False,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1 <= self.high:
            raise ValueError(f"low, high: got {self.low}, {self.high}, expected 0 <= low <= 1 <= high.")
        fraction(share=self.share)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        sizes = finite_norms(updates)
        bound = median_of(sizes)
        ordinary = (sizes >= self.low * bound) & (sizes <= self.high * bound)
        count = max(1, int(self.share * updates.shape[1]))
        sampled = torch.randperm(updates.shape[1], generator=round_generator(context))[:count].sort().values
        signs = updates[:, sampled.to(updates.device)].sign()
        up, down = ((signs == sign).sum(dim=1).double() for sign in (1, -1))
        # Counts have the same clusters as shares, and their sums are exact in any order of clients.
        clusters = mean_shift(torch.stack([up, count - up - down, down], dim=1).cpu())
        largest = clusters[clusters >= 0].bincount().argmax()
        kept = ordinary & (clusters == largest).to(updates.device)
        trust = torch.where(kept, clip_factors(sizes, bound), 0) / kept.sum().clamp(min=1)
        return weighted(trust, updates)

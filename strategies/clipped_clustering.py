"""Clipped clustering: clip by the norms seen so far, and keep the larger of two clusters by angle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.clip_factors import clip_factors
from strategies.combination import weighted
from strategies.cosines import cosine_distances, lengths_and_cosines
from strategies.knobs import positive
from strategies.medians import median_of
from strategies.rule import Aggregate, Card, Context, checked


@dataclass(frozen=True, kw_only=True)
class ClippedClustering:
    """Average the larger of two clusters, its updates clipped to the median of all norms ever seen.

    Li, Ngai, Voigt, "An Experimental Study of Byzantine-Robust Aggregation Schemes in Federated Learning",
    IEEE Transactions on Big Data 2023. The clusters come from agglomerative clustering with average linkage
    on cosine distances.

    >>> import torch
    >>> ClippedClustering()(torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, -0.1], [-1.0, 0.0]])).trust
    tensor([0.3325, 0.3333, 0.3325, 0.0000], dtype=torch.float64)
    """

    bound: float = 1e5
    """The largest norm to clip to, whatever the median."""

    card: ClassVar = Card(
        paper="Li et al., IEEE Transactions on Big Data 2023",
        needs=("history",),
        cost="O(n^2 d), and one remembered number a client and round",
        deviations="Of two clusters of one size the one whose updates agree more is kept, and both where "
        "they agree alike; Blades keeps the first.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        positive(bound=self.bound)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        sizes, angles = lengths_and_cosines(updates)
        before = context.state.get("norms", sizes[:0]) if context else sizes[:0]
        norms = torch.cat([before.to(sizes), sizes])
        kept = larger_cluster(cosine_distances(angles))
        factors = clip_factors(sizes, median_of(norms).clamp(max=self.bound))
        return weighted(torch.where(kept, factors, 0) / kept.sum(), updates, {"norms": norms})


def larger_cluster(distances: Tensor) -> Tensor:
    """Return which updates (n,) are in the larger of two clusters, given their distances (n, n)."""
    from sklearn.cluster import AgglomerativeClustering  # noqa: PLC0415  # a second to import

    n = len(distances)
    if n <= 2 or not bool(distances.any()):
        return torch.ones(n, dtype=torch.bool, device=distances.device)
    clustering = AgglomerativeClustering(n_clusters=2, metric="precomputed", linkage="average")
    labels = clustering.fit_predict(distances.cpu().numpy())
    second = torch.as_tensor(labels == 1, device=distances.device)
    if 2 * int(second.sum()) != n:
        return second if 2 * int(second.sum()) > n else ~second
    spread, other = distances[second][:, second].sum(), distances[~second][:, ~second].sum()
    if bool(spread == other):
        return torch.ones_like(second)
    return second if bool(spread < other) else ~second

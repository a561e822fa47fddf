"""Clipped clustering: clip to the median of all norms so far, and average the larger cluster by angle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, refuse_non_finite
from strategies.kernels.distances import cosine_distances, lengths_and_cosines
from strategies.kernels.order_statistics import median_of
from strategies.kernels.weighted_sums import clip_factors, weighted
from strategies.parameters import limit


@dataclass(frozen=True, kw_only=True)
class ClippedClustering(Rule):
    """Average the larger of two clusters, with updates clipped to the median norm of all rounds so far.

    Li, Ngai, Voigt, "An Experimental Study of Byzantine-Robust Aggregation Schemes in Federated Learning",
    IEEE Transactions on Big Data 2023. The clusters come from agglomerative clustering with average linkage
    on cosine distances.

    >>> import torch
    >>> ClippedClustering()(torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, -0.1], [-1.0, 0.0]])).trust
    tensor([0.3325, 0.3333, 0.3325, 0.0000], dtype=torch.float64)
    """

    bound: float = 1e5
    """Largest norm to clip to, if the median is larger."""

    search_space: ClassVar = {"bound": (0.3, 1.0, 3.0, 1e5)}
    card: ClassVar = RuleCard(
        paper="Li et al., IEEE Transactions on Big Data 2023",
        needs=("history",),
        cost="O(n^2 d), and one number of memory per client and round",
        deviations="Of two clusters of equal size, the one with the smaller distances is kept, and both "
        "if these are equal; Blades keeps the first.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        limit(bound=self.bound)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        sizes, angles = lengths_and_cosines(updates)
        refuse_non_finite(updates, sizes)
        norms = torch.cat([context.state.get("norms", sizes[:0]).to(sizes), sizes])
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

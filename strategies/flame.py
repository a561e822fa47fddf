"""FLAME: cluster by angle, clip to the median norm, and drown the rest of a backdoor in noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.clip_factors import clip_factors
from strategies.combination import weighted
from strategies.cosines import cosine_distances, lengths_and_cosines
from strategies.distances import row_norms
from strategies.knobs import not_negative
from strategies.medians import median_of
from strategies.noise import gaussian, stream_of
from strategies.rule import Aggregate, Card, Context, InputError, checked


@dataclass(frozen=True, kw_only=True)
class Flame:
    """Average the updates in HDBSCAN's majority cluster, clipped to the median norm, and add noise.

    Nguyen et al., "FLAME: Taming Backdoors in Federated Learning", USENIX Security 2022. The clustering
    wants a majority, n / 2 + 1 updates, and admits little more than the densest majority.

    Raises:
        InputError: `compare` is models, and the context has no model.
    """

    noise: float = 0.001
    """Lambda in the paper: the noise's standard deviation as a share of the clipping norm."""
    compare: Literal["updates", "models"] = "updates"
    """Whose angles are clustered: the updates', as the paper's text has it, or the trained models', as its
    listing and FLPoison have it."""

    card: ClassVar = Card(
        paper="Nguyen et al., USENIX Security 2022",
        needs=("model", "randomness"),
        cost="O(n^2 d)",
        deviations="Lambda is the paper's for images. FLPoison takes 1.2e-5 and multiplies by each parameter "
        "tensor's deviation as well. With `compare` models, who is admitted changes with the updates' scale.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        not_negative(noise=self.noise)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        context = context or Context()
        if self.compare == "models":
            if context.model is None:
                raise InputError("model: got none, wanted the global weights; hand them over in the context.")
            sizes = row_norms(updates)
            _, angles = lengths_and_cosines(updates + context.model)
        else:
            sizes, angles = lengths_and_cosines(updates)
        admitted = majority(cosine_distances(angles))
        bound = median_of(sizes)
        trust = torch.where(admitted, clip_factors(sizes, bound), 0) / admitted.sum()
        result = weighted(trust, updates)
        if self.noise:
            result.update.add_(gaussian(result.update, self.noise * float(bound), stream_of(context)))
        return result


def majority(distances: Tensor) -> Tensor:
    """Return whom (n,) HDBSCAN puts into the one cluster of more than half, given distances (n, n)."""
    from sklearn.cluster import HDBSCAN  # noqa: PLC0415  # a second to import, for this rule alone

    n = len(distances)
    if n <= 2:
        return torch.ones(n, dtype=torch.bool, device=distances.device)
    clustering = HDBSCAN(
        min_cluster_size=n // 2 + 1,
        min_samples=1,
        metric="precomputed",
        allow_single_cluster=True,
        copy=True,
    )
    labels = clustering.fit_predict(distances.cpu().numpy())
    return torch.as_tensor(labels == 0, device=distances.device)

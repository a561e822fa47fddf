"""FLAME: cluster by angle, clip to the median norm, and cover the rest of a backdoor with noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, InputError, Rule, RuleCard, refuse_non_finite
from strategies.kernels.client_memory import gaussian, round_generator
from strategies.kernels.clusters import majority_cluster
from strategies.kernels.distances import cosine_distances, lengths_and_cosines, row_norms
from strategies.kernels.order_statistics import median_of
from strategies.kernels.weighted_sums import clip_factors, weighted
from strategies.parameters import require_non_negative


@dataclass(frozen=True, kw_only=True)
class Flame(Rule):
    """Average the updates in HDBSCAN's majority cluster, clipped to the median norm, and add noise.

    Nguyen et al., "FLAME: Taming Backdoors in Federated Learning", USENIX Security 2022. The smallest
    cluster is a majority, n / 2 + 1 updates, so few updates outside the densest majority are admitted.

    Raises:
        InputError: `compare` is "models" and the context has no model.
    """

    noise: float = 0.001
    """Standard deviation of the noise as a share of the clipping norm, lambda in the paper."""
    compare: Literal["updates", "models"] = "updates"
    """Vectors whose angles are clustered: the updates, as in the paper's text, or the trained models, as in
    its listing and in FLPoison."""

    search_space: ClassVar = {"noise": (0.0, 0.001, 0.01)}
    card: ClassVar = RuleCard(
        paper="Nguyen et al., USENIX Security 2022",
        needs=("model", "randomness"),
        cost="O(n^2 d)",
        deviations="Lambda is the paper's for images. FLPoison takes 1.2e-5 and multiplies by each parameter "
        "tensor's deviation as well. With `compare` models, the admitted clients depend on the scale.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_non_negative(noise=self.noise)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        if self.compare == "models":
            if context.model is None:
                raise InputError("model: got none, expected the global weights in the context.")
            sizes = row_norms(updates)
            _, angles = lengths_and_cosines(updates + context.model)
        else:
            sizes, angles = lengths_and_cosines(updates)
        refuse_non_finite(updates, sizes)
        admitted = majority_cluster(cosine_distances(angles))
        bound = median_of(sizes)
        trust = torch.where(admitted, clip_factors(sizes, bound), 0) / admitted.sum()
        result = weighted(trust, updates)
        if self.noise:
            result.update.add_(gaussian(result.update, self.noise * float(bound), round_generator(context)))
        return result

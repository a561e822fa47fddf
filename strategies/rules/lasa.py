"""LASA: keep, per layer, the sparsified updates of ordinary norm and signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, finite_norms
from strategies.kernels.columns import over_chunks, sum_over_chunks
from strategies.kernels.layers import spans
from strategies.kernels.order_statistics import median_of, z_scores
from strategies.kernels.sparsity import dropped_of, least_kept, sparse
from strategies.kernels.weighted_sums import clip_factors
from strategies.parameters import below_one, limit


@dataclass(frozen=True, kw_only=True)
class LASA(Rule):
    """Average, per layer, the clipped and sparsified updates whose norm and signs are ordinary.

    Xu, Zhang, Hu, "Achieving Byzantine-Resilient Federated Learning via Layer-Adaptive Sparsified Model
    Aggregation", WACV 2025. Updates are clipped to the median norm, and their smallest coordinates are set to
    0. In each layer, a client is ordinary if its norm is within `norm_bound` standard deviations of the
    median, and the balance of its signs within `sign_bound`. If no client is ordinary, all are averaged.

    >>> import torch
    >>> LASA(sparsity=0.0, norm_bound=1.0)(torch.tensor([[1.0], [1.0], [1.0], [-1.0]])).trust
    tensor([0.3333, 0.3333, 0.3333, 0.0000], dtype=torch.float64)
    """

    sparsity: float = 0.3
    """Share of the coordinates of each update, the smallest ones, that are set to 0."""
    norm_bound: float = 2.0
    """Largest distance of a norm from the median, in standard deviations."""
    sign_bound: float = 1.0
    """Largest distance of a balance of signs from the median, in standard deviations."""

    search_space: ClassVar = {
        "sparsity": (0.0, 0.3, 0.6),
        "norm_bound": (1.0, 2.0),
        "sign_bound": (0.5, 1.0, 2.0),
    }
    card: ClassVar = RuleCard(
        paper="Xu et al., WACV 2025",
        cost="O(n d), and a partial sort of each update",
        deviations="The Z-score is the authors' code's: distance to the median over the standard deviation. "
        "The sparsification includes biases; the authors' code leaves them out. Without a layout, "
        "the whole update is one layer.",
        unanimous=False,
        translation_equivariant=False,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        below_one(sparsity=self.sparsity)
        limit(norm_bound=self.norm_bound, sign_bound=self.sign_bound)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        d = updates.shape[1]
        sizes = finite_norms(updates)
        factors = clip_factors(sizes, median_of(sizes))
        least = least_kept(updates, dropped_of(self.sparsity, d))
        update = torch.empty(d, dtype=updates.dtype, device=updates.device)
        trust = torch.zeros_like(sizes)
        for span in spans(context.layout, d):
            layer, part = updates[:, span], update[span]
            kept = self.inliers(layer, least, factors)
            shares = torch.where(kept, factors, 0) / kept.sum()
            average(layer, least, shares.to(updates.dtype), part)
            trust += shares * len(part) / d
        return Aggregate(update=update, trust=trust)

    def inliers(self, layer: Tensor, least: Tensor, factors: Tensor) -> Tensor:
        """Return the clients (n,) whose sparsified, clipped `layer` (n, c) is ordinary, or all if none is."""

        def work(columns: slice) -> Tensor:
            block = sparse(layer[:, columns], least)
            sizes = torch.linalg.vector_norm(block, dim=1, dtype=torch.float64)
            return torch.stack([sizes.square(), block.sign().sum(dim=1), block.count_nonzero(dim=1)])

        squared, balance, counted = sum_over_chunks(work, layer, (3, len(layer)))
        kept = z_scores(factors * squared.sqrt()) < self.norm_bound
        kept &= z_scores(balance / counted.clamp(min=1)) < self.sign_bound
        return kept if bool(kept.any()) else torch.ones_like(kept)


def average(layer: Tensor, least: Tensor, shares: Tensor, into: Tensor) -> None:
    """Write the sum of the sparsified rows of `layer` (n, c), weighted by `shares` (n,), into (c,)."""

    def work(columns: slice) -> None:
        into[columns] = shares @ sparse(layer[:, columns], least)

    over_chunks(work, layer)

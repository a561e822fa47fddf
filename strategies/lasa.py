"""LASA: decide layer by layer whose sparsified update is ordinary in size and in sign."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from strategies.chunks import over_chunks, sum_over_chunks
from strategies.clip_factors import clip_factors
from strategies.distances import row_norms
from strategies.knobs import positive
from strategies.layers import spans
from strategies.medians import median_of
from strategies.rule import Aggregate, Card, Context, checked


@dataclass(frozen=True, kw_only=True)
class LASA:
    """Average, layer by layer, the clipped and sparsified updates whose norm and signs are ordinary there.

    Xu, Zhang, Hu, "Achieving Byzantine-Resilient Federated Learning via Layer-Adaptive Sparsified Model
    Aggregation", WACV 2025. Updates are clipped to the median norm and lose their smallest coordinates. In
    each layer a client is ordinary if its norm is within `norm_bound`, and the share of its coordinates
    that go up within `sign_bound`, standard deviations of the median. If nobody is, everybody counts.

    >>> import torch
    >>> LASA(sparsity=0.0, norm_bound=1.0)(torch.tensor([[1.0], [1.0], [1.0], [-1.0]])).trust
    tensor([0.3333, 0.3333, 0.3333, 0.0000], dtype=torch.float64)
    """

    sparsity: float = 0.3
    """The share of its smallest coordinates that each update loses."""
    norm_bound: float = 2.0
    sign_bound: float = 1.0

    card: ClassVar = Card(
        paper="Xu et al., WACV 2025",
        cost="O(n d), and a partial sort of each update",
        deviations="The Z-score is the authors' code's: distance to the median over the standard deviation. "
        "All coordinates compete in the sparsification; the authors' code spares biases. Without a layout "
        "the whole update is one layer.",
        unanimous=False,
        translation_equivariant=False,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity: got {self.sparsity}, wanted from 0 to less than 1.")
        positive(norm_bound=self.norm_bound, sign_bound=self.sign_bound)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        d = updates.shape[1]
        sizes = row_norms(updates)
        factors = clip_factors(sizes, median_of(sizes))
        least = self.least_kept(updates)
        update = torch.empty(d, dtype=updates.dtype, device=updates.device)
        trust = torch.zeros_like(sizes)
        for span in spans(context.layout if context else None, d):
            layer, part = updates[:, span], update[span]
            kept = self.ordinary(layer, least, factors)
            shares = torch.where(kept, factors, 0) / kept.sum()
            average(layer, least, shares.to(updates.dtype), part)
            trust += shares * len(part) / d
        return Aggregate(update=update, trust=trust)

    def least_kept(self, updates: Tensor) -> Tensor:
        """Return the smallest absolute value that each row of `updates` (n, d) keeps, (n,)."""
        dropped = min(int(self.sparsity * updates.shape[1]), updates.shape[1] - 1)
        if updates.device.type != "cpu":
            return updates.abs().kthvalue(dropped + 1, dim=1).values

        def least(row: Tensor) -> float:
            return float(np.partition(row.abs().numpy(), dropped)[dropped])

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return torch.tensor(list(pool.map(least, updates)), dtype=updates.dtype)

    def ordinary(self, layer: Tensor, least: Tensor, factors: Tensor) -> Tensor:
        """Return whose sparsified and clipped `layer` (n, c) is ordinary; all, if nobody's is, (n,)."""

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


def sparse(block: Tensor, least: Tensor) -> Tensor:
    """Return `block` (n, c) without what is smaller than the `least` value that each row keeps, (n,)."""
    return (block.abs() >= least[:, None]).to(block.dtype).mul_(block)


def z_scores(values: Tensor) -> Tensor:
    """Return how many standard deviations each value (n,) is from the median; 0 where all are equal.

    >>> z_scores(torch.tensor([1.0, 1.0, 1.0, 5.0]))
    tensor([0.0000, 0.0000, 0.0000, 2.3094])
    """
    spread = values.std(correction=0)
    return (values - median_of(values)).abs() / torch.where(spread > 0, spread, 1)

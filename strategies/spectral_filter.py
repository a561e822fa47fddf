"""The spectral filter: take out, one by one, whoever stretches the covariance beyond a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.combination import combine
from strategies.distances import squared_distances
from strategies.knobs import positive
from strategies.principal_direction import principal_direction, without_farthest
from strategies.rule import Aggregate, Card, Context, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class SpectralFilter:
    """Average with weights from which whoever stretches the covariance has been filtered.

    Zhu, Wang, Pang, Wang, Jiao, Song, Jordan, "Byzantine-Robust Federated Learning with Optimal
    Statistical Rates and Privacy Guarantees", 2022; the filter goes back to robust mean estimation. While
    the largest eigenvalue of the weighted covariance exceeds `expansion` sigma^2, and no more than 2f
    clients' weight is gone: c_i <- c_i (1 - t_i / max t), with t_i the squared deviation along the top
    eigenvector, so that the farthest client is out.

    >>> import torch
    >>> SpectralFilter(byzantine=1, sigma=1.0)(torch.tensor([[1.0], [1.0], [1.0], [90.0]])).update
    tensor([1.])
    """

    byzantine: int = 0
    sigma: float = 1e-5
    """The standard deviation that honest updates are known to have along any direction."""
    expansion: float = 20.0
    block: int | None = None
    """Filter blocks of so many coordinates on their own, 1000 in the authors' code; None: all at once."""

    card: ClassVar = Card(
        paper="Zhu et al., 2022",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n^2 d)",
        deviations="The authors' code filters until the bound holds, however many clients that costs, and in "
        "blocks of 1000 coordinates, since it forms the covariance: see `byzantine` and `block`.",
        scale_equivariant=False,
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)
        positive(sigma=self.sigma, expansion=self.expansion, block=1 if self.block is None else self.block)

    @property
    def minimum(self) -> int:
        return 2 * self.byzantine + 1

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        d = updates.shape[1]
        update, trust = updates.new_empty(d), updates.new_zeros(len(updates), dtype=torch.float64)
        for part in torch.arange(d, device=updates.device).split(self.block or d):
            block = updates[:, part[0] : part[-1] + 1]
            shares = self._shares(block)
            update[part] = combine(shares, block)
            trust += shares * (len(part) / d)
        return Aggregate(update=update, trust=trust)

    def _shares(self, updates: Tensor) -> Tensor:
        squared, n = squared_distances(updates), len(updates)
        kept = torch.ones(n, dtype=torch.float64, device=updates.device)
        while bool(kept.sum() > n - 2 * self.byzantine):
            variance, deviations = principal_direction(squared, kept)
            if variance <= self.expansion * self.sigma**2:
                break
            fewer = without_farthest(kept, deviations)
            if not bool(fewer.sum() > 0):  # all who are left deviate alike
                break
            kept = fewer
        return kept / kept.sum()

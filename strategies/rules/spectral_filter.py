"""The spectral filter: remove clients one by one until the largest variance is within a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard
from strategies.kernels.distances import squared_distances
from strategies.kernels.spectral import principal_direction, without_farthest
from strategies.kernels.weighted_sums import combine
from strategies.parameters import positive
from strategies.tolerance import RelaxableRule


@dataclass(frozen=True, kw_only=True)
class SpectralFilter(RelaxableRule):
    """Average with weights that are filtered until the largest variance is within a bound.

    Zhu, Wang, Pang, Wang, Jiao, Song, Jordan, "Byzantine-Robust Federated Learning with Optimal
    Statistical Rates and Privacy Guarantees", 2022. The filter is known from robust mean estimation. While
    the square of the largest eigenvalue of the weighted covariance exceeds `expansion` sigma^2, at most 2f
    times: c_i <- c_i (1 - t_i / max t), with t_i the squared deviation along the top eigenvector. Each step
    removes the farthest client.

    >>> import torch
    >>> SpectralFilter(byzantine=1, sigma=1.0)(torch.tensor([[1.0], [1.0], [1.0], [90.0]])).update
    tensor([1.])
    """

    sigma: float = 1e-5
    """Known bound on the operator norm of the honest updates' covariance: their largest variance along any
    direction."""
    expansion: float = 20.0
    """Square of the largest accepted eigenvalue, as a multiple of sigma^2."""
    block: int | None = None
    """Number of coordinates that are filtered together, 1000 in the authors' code. Default: all."""

    search_space: ClassVar = {"sigma": (1e-5, 1e-4, 1e-3, 1e-2)}
    card: ClassVar = RuleCard(
        paper="Zhu et al., 2022",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n^2 d)",
        deviations="The authors' code takes a share eps of malicious clients and removes at most "
        "2 int(eps n), here 2f. It filters blocks of 1000 coordinates, because it forms the covariance: see "
        "`block`.",
        scale_equivariant=False,
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(sigma=self.sigma, expansion=self.expansion, block=1 if self.block is None else self.block)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
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
        for _ in range(2 * self.byzantine):
            variance, deviations = principal_direction(squared, kept)
            if variance <= self.expansion**0.5 * self.sigma:
                break
            fewer = without_farthest(kept, deviations)
            if not bool(fewer.sum() > 0):  # all clients that are left deviate equally
                break
            kept = fewer
        return kept / kept.sum()

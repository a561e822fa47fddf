"""The spectral filter: remove clients one by one until the largest variance is within a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard
from strategies.kernels.columns import STREAMED, columns_of, one_thread
from strategies.kernels.distances import squared_distances
from strategies.kernels.spectral import principal_direction, principal_directions, without_farthest
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
        n, d = updates.shape
        size = min(self.block or d, d)
        update, trust = updates.new_empty(d), updates.new_zeros(n, dtype=torch.float64)
        # Blocks narrower than n are filtered together: one call each would take longer than the arithmetic.
        together = size if size >= n else size * max(1, columns_of(n, STREAMED) // size)
        for start in range(0, d, together):
            part = updates[:, start : start + together]
            if size >= n:
                shares = self._shares(part)
                update[start : start + together] = combine(shares, part)
                trust += shares * (part.shape[1] / d)
            else:
                with one_thread():  # more threads change the last bits of products
                    update[start : start + together], used = self._narrow(part, size)
                trust += used / d
        return Aggregate(update=update, trust=trust)

    def _narrow(self, updates: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Filter each block of `size` of the c columns of `updates` (n, c), where size < n.

        The covariance of such a block is smaller than the inner products of its rows.

        Returns:
            The weighted mean (c,), and the sum over the columns of the clients' shares (n,).
        """
        n, columns = updates.shape
        count = -(-columns // size)
        blocks = updates.new_zeros(n, count * size, dtype=torch.float64)  # columns of zeros vary in nothing
        blocks[:, :columns] = updates
        blocks = blocks.view(n, count, size).transpose(0, 1).contiguous()
        kept = blocks.new_ones(count, n)
        active = torch.arange(count, device=updates.device)
        for _ in range(2 * self.byzantine):
            variances, deviations = principal_directions(blocks[active], kept[active])
            wide = variances > self.expansion**0.5 * self.sigma
            active = active[wide]
            if not len(active):
                break
            fewer = without_farthest(kept[active], deviations[wide])
            left = fewer.sum(dim=1) > 0  # otherwise, all clients that are left deviate equally
            active = active[left]
            kept[active] = fewer[left]
        total = kept.sum(dim=1, keepdim=True)
        mean = ((kept[:, None] @ blocks).squeeze(1) / total).view(-1)[:columns]
        widths = torch.full((count, 1), size, dtype=torch.float64, device=updates.device)
        widths[-1] = columns - (count - 1) * size
        return mean.to(updates.dtype), (kept / total * widths).sum(dim=0)

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

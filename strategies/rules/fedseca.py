"""FedSECA: elect the sign of every coordinate, and average the sparse updates that agree with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, finite_norms
from strategies.kernels.columns import over_chunks, sum_over_chunks
from strategies.kernels.order_statistics import median_of, middle
from strategies.kernels.sparsity import dropped_of, least_kept
from strategies.kernels.weighted_sums import clip_factors
from strategies.parameters import below_one


@dataclass(frozen=True, kw_only=True)
class FedSECA(Rule):
    """Average the clipped, sparsified values that have the elected sign of their coordinate.

    Benjamin, Asokan, Yaqub, Nandakumar, "FedSECA: Sign Election and Coordinate-wise Aggregation of Gradients
    for Byzantine Tolerant Federated Learning", CVPR 2025 Workshops. Two clients concur if most of their signs
    agree. The weight of a client's vote on the signs is the share of clients that concur with it minus the
    share of those that do not, and at least 0. Updates are clipped to the median norm, and each value to the
    median absolute value of its coordinate. Only the largest coordinates of each update count.

    >>> import torch
    >>> rows = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [-1.0, -2.0]])
    >>> FedSECA(sparsity=0.0)(rows).update
    tensor([1., 2.])
    """

    sparsity: float = 0.9
    """Share of the coordinates of each update, the smallest ones, that are set to 0."""

    search_space: ClassVar = {"sparsity": (0.0, 0.5, 0.9)}
    card: ClassVar = RuleCard(
        paper="Benjamin et al., CVPR 2025 Workshops",
        cost="O(n^2 d), and a partial sort of each update",
        deviations="Where no sign is elected, the coordinate does not change; FL-Byzantine-Library averages "
        "all values there. It takes the lower of two middle values for the median of an even number.",
        unanimous=False,
        translation_equivariant=False,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        below_one(sparsity=self.sparsity)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        d = updates.shape[1]
        sizes = finite_norms(updates)
        factors = clip_factors(sizes, median_of(sizes)).to(updates.dtype)
        least = least_kept(updates, dropped_of(self.sparsity, d))
        votes = concordance(updates).float()
        update = torch.empty(d, dtype=updates.dtype, device=updates.device)

        def work(columns: slice) -> Tensor:
            block = updates[:, columns]
            elected = (votes @ block.sign().float()).sign()
            agree = (block.sign() == elected) & (elected != 0) & (block.abs() >= least[:, None])
            sizes = (block * factors[:, None]).abs()
            sizes = torch.minimum(sizes, middle(sizes.T.sort(dim=1).values))
            total = torch.where(agree, sizes, 0).sum(dim=0, dtype=torch.float64)
            update[columns] = total / agree.sum(dim=0).clamp(min=1) * elected
            return agree.sum(dim=1).double()

        used = sum(over_chunks(work, updates), torch.zeros_like(sizes))
        return Aggregate(update=update, trust=used / used.sum().clamp(min=1))


def concordance(updates: Tensor) -> Tensor:
    """Return the votes (n,), float64: the mean sign of each client's agreements with all clients, at least 0.

    >>> concordance(torch.tensor([[1.0, 2.0], [3.0, 1.0], [-1.0, -1.0]]))
    tensor([0.3333, 0.3333, 0.0000], dtype=torch.float64)
    """

    def work(columns: slice) -> Tensor:
        signs = updates[:, columns].sign().float()
        return (signs @ signs.T).double()

    agreements = sum_over_chunks(work, updates, (len(updates), len(updates)))
    return agreements.sign().mean(dim=1).clamp(min=0)

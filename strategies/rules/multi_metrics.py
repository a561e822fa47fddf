"""Multi-metrics: keep the updates that are ordinary by three distances at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, InputError, Rule, RuleCard, finite_norms
from strategies.kernels.columns import one_thread, sum_over_chunks
from strategies.kernels.distances import gram, row_norms
from strategies.kernels.weighted_sums import mean_of
from strategies.parameters import fraction

ROUNDING = 1e-9
"""Scores closer than this share are equal. With an even number of clients, two often are."""


@dataclass(frozen=True, kw_only=True)
class MultiMetrics(Rule):
    """Average the updates with the lowest score from Manhattan, Euclidean and cosine distances.

    Huang, Li, Chen, Shi, Gao, "Multi-metrics adaptively identifies backdoors in Federated learning", ICCV
    2023. Each metric compares a client's model with the global model, and gives the sum of the client's
    differences from the other clients. The score x' C^-1 x weights the three sums x by their covariance C
    among the clients.

    Raises:
        InputError: the context has no model.
    """

    kept: float = 0.3
    """Share of the clients that are averaged, at least one client. Equal scores are kept together."""
    compare: Literal["global", "pairs"] = "global"
    """Compare each model with the global model, as the paper, or with every other model, as the authors'
    code. The code sums Manhattan distances, differences of norms, and squares of cosine distances."""

    search_space: ClassVar = {"kept": (0.3, 0.5, 0.7)}
    card: ClassVar = RuleCard(
        paper="Huang et al., ICCV 2023",
        needs=("model",),
        cost="O(n d), or O(n^2 d) with `compare` pairs",
        deviations="The authors' code weights the kept updates by their numbers of examples. The covariance "
        "is inverted by its pseudoinverse, so three or fewer clients are no error.",
        translation_equivariant=False,
        scale_equivariant=False,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        fraction(kept=self.kept)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        if context.model is None:
            raise InputError("model: got none, expected the global weights in the context.")
        sizes, model = finite_norms(updates), context.model.to(updates)
        if self.compare == "pairs":
            features = pair_metrics(updates, model)
        else:
            features = global_metrics(updates, model, sizes)
        scores = whitened_scores(features)
        last = scores.sort().values[max(1, int(self.kept * len(updates))) - 1]
        return mean_of((scores <= (1 + ROUNDING) * last).nonzero().flatten(), updates)


def global_metrics(updates: Tensor, model: Tensor, sizes: Tensor) -> Tensor:
    """Return the sums of differences (n, 3) of the clients' distances from the global `model` (d,)."""

    def work(columns: slice) -> Tensor:
        block, weights = updates[:, columns].double(), model[columns].double()
        return torch.stack([block.abs().sum(dim=1), block @ weights])

    manhattan, products = sum_over_chunks(work, updates, (2, len(updates)))
    squared = model.double().square().sum()
    scale = row_norms(updates, origin=-model) * squared.sqrt()
    cosines = (products + squared) / torch.where(scale > 0, scale, 1)
    metrics = torch.stack([manhattan, sizes, cosines], dim=1)
    return (metrics[:, None] - metrics).abs().sum(dim=1)


def pair_metrics(updates: Tensor, model: Tensor) -> Tensor:
    """Return the sums of distances (n, 3) of each client's model from all other models."""
    products = gram(updates, origin=-model)
    sizes = products.diagonal().sqrt()
    scale = sizes[:, None] * sizes
    cosines = (products / torch.where(scale > 0, scale, 1)).fill_diagonal_(1)

    def work(columns: slice) -> Tensor:
        block = updates[:, columns].double()
        return torch.cdist(block, block, p=1)

    manhattan = sum_over_chunks(work, updates, (len(updates), len(updates)))
    lengths = (sizes[:, None] - sizes).abs()
    return torch.stack([manhattan.sum(dim=1), lengths.sum(dim=1), (1 - cosines).square().sum(dim=1)], dim=1)


def whitened_scores(features: Tensor) -> Tensor:
    """Return the scores x' C^-1 x (n,) of `features` (n, k), float64, with their covariance C.

    >>> whitened_scores(torch.tensor([[1.0], [1.0], [3.0]], dtype=torch.float64)).round(decimals=2)
    tensor([0.7500, 0.7500, 6.7500], dtype=torch.float64)
    """
    if len(features) < 2:
        return torch.zeros(len(features), dtype=torch.float64, device=features.device)
    if not bool(features.isfinite().all()):
        raise OverflowError("the distances overflow")
    spread = features.std(dim=0)
    scaled = features / torch.where(spread > 0, spread, 1)  # the score does not change, its precision does
    with one_thread():  # more threads change the last bits of the inverse
        inverse = torch.linalg.pinv(scaled.T.cov().reshape(scaled.shape[1], -1), hermitian=True)
        scores: Tensor = ((scaled @ inverse) * scaled).sum(dim=1)
    return scores

"""AlignIns: keep the updates whose direction and largest signs are ordinary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, InputError, Rule, RuleCard, finite_norms
from strategies.kernels.columns import sum_over_chunks
from strategies.kernels.distances import cosines_with
from strategies.kernels.order_statistics import median_of, z_scores
from strategies.kernels.sign_votes import sign_votes
from strategies.kernels.sparsity import least_kept
from strategies.kernels.weighted_sums import clip_factors, weighted
from strategies.parameters import fraction, limit


@dataclass(frozen=True, kw_only=True)
class AlignIns(Rule):
    """Average the clipped updates whose angle to the model and whose largest signs are ordinary.

    Xu, Zhang, Hu, "Detecting Backdoor Attacks in Federated Learning via Direction Alignment Inspection", CVPR
    2025. Two numbers describe an update: its cosine with the global model, and the share of its largest
    coordinates that have the sign of the majority. A client is ordinary if both are within a number of
    standard deviations of the median. The ordinary updates are clipped to their median norm. If no client is
    ordinary, the model does not change, as with two clients that differ.

    Raises:
        InputError: the context has no model.

    >>> import torch
    >>> rows = torch.tensor([[1.0, 0.2], [1.0, 0.2], [2.0, 0.4], [-1.0, 0.2]])
    >>> AlignIns()(rows, None, Context(model=torch.tensor([0.0, 1.0]))).trust
    tensor([0.3333, 0.3333, 0.1667, 0.0000], dtype=torch.float64)
    """

    largest: float = 0.3
    """Share of each update's coordinates whose signs are compared, those of largest absolute value."""
    sign_bound: float = 1.0
    """Distance of an ordinary share of signs from the median, in standard deviations."""
    direction_bound: float = 1.0
    """Distance of an ordinary cosine from the median, in standard deviations."""

    search_space: ClassVar = {"sign_bound": (0.5, 1.0, 2.0), "direction_bound": (0.5, 1.0, 2.0)}
    card: ClassVar = RuleCard(
        paper="Xu et al., CVPR 2025",
        needs=("model",),
        cost="O(n d), and a partial sort of each update",
        deviations="The authors' code weights the kept updates by their numbers of examples. It clips to the "
        "lower of two middle norms; here the median of an even number is the mean of both.",
        translation_equivariant=False,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        fraction(largest=self.largest)
        limit(sign_bound=self.sign_bound, direction_bound=self.direction_bound)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        if context.model is None:
            raise InputError("model: got none, expected the global weights in the context.")
        sizes = finite_norms(updates)
        kept = z_scores(self.sign_alignment(updates)) < self.sign_bound
        kept &= z_scores(cosines_with(context.model, updates, sizes)) < self.direction_bound
        if not bool(kept.any()):
            return weighted(torch.zeros_like(sizes), updates)
        factors = clip_factors(sizes, median_of(sizes[kept]))
        return weighted(torch.where(kept, factors, 0) / kept.sum(), updates)

    def sign_alignment(self, updates: Tensor) -> Tensor:
        """Return the share of each update's largest coordinates that have the sign of the majority, (n,)."""
        n, d = updates.shape
        votes = sign_votes(updates)
        least = least_kept(updates, d - max(1, int(self.largest * d)))

        def work(columns: slice) -> Tensor:
            block = updates[:, columns]
            counted = block.abs() >= least[:, None]
            agree = counted & (block.sign() == votes[columns].sign())
            return torch.stack([agree.sum(dim=1), counted.sum(dim=1)]).double()

        agreeing, counted = sum_over_chunks(work, updates, (2, n)).unbind()
        return agreeing / counted

"""GAS: gradient splitting, which scores updates piece by piece."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import strategies
from strategies.base import Aggregate, Context, Limited, Rule, RuleCard, as_shares
from strategies.kernels.client_memory import round_generator
from strategies.kernels.weighted_sums import mean_of_lowest
from strategies.parameters import positive
from strategies.tolerance import RelaxableRule

COLUMNWISE = {"mean-around-median", "median", "phocas", "trimmed-mean"}
"""Coordinate-wise bases: one call aggregates all pieces."""


@dataclass(frozen=True, kw_only=True)
class GAS(RelaxableRule):
    """Average the n - f updates nearest to the result of another rule on random pieces of the updates.

    Liu, Chen, Lyu, Wu, Wu, Chen, "Byzantine-Robust Learning on Heterogeneous Data via Gradient Splitting",
    ICML 2023. The coordinates are divided at random into `parts` pieces, and `base` aggregates each piece. A
    client's score is the sum over the pieces of its distances to these aggregates. Of equal scores, the first
    clients' updates are kept.

    >>> import torch
    >>> GAS(byzantine=1)(torch.tensor([[1.0], [2.0], [6.0], [90.0]])).update
    tensor([3.])
    """

    parts: int = 1000
    """Number of pieces."""
    base: str = "median"
    """Name of a registered rule that needs only updates and is translation and scale equivariant."""

    search_space: ClassVar = {"parts": (10, 100, 1000), "base": ("median", "trimmed-mean")}
    card: ClassVar = RuleCard(
        paper="Liu et al., ICML 2023",
        needs=("byzantine", "randomness"),
        precondition="n > 2f, and the precondition of the base",
        cost="that of the base, and O(n d) reads out of order",
        deviations="The default base is the median; the authors' code uses Bulyan, which is much slower.",
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(parts=self.parts)
        if self.base not in bases():
            raise ValueError(f"base: got {self.base!r}, expected one of {', '.join(bases())}.")

    @property
    def guaranteed(self) -> int:
        return max(2 * self.byzantine + 1, self._rule(strict=True).minimum)

    @property
    def defined(self) -> int:
        return max(self.byzantine + 1, self._rule(strict=False).minimum)

    def obstacle(self, clients: int, client_ids: Container[int] | None) -> str | None:
        base = self._rule(strict=self.strict)
        return base.obstacle(clients, None) if isinstance(base, Limited) else None

    def _rule(self, *, strict: bool) -> Rule:
        """Return the base, outside of its theorem if it can be and `strict` is false."""
        settings: dict[str, Any] = {"byzantine": self.byzantine, "strict": strict}
        kind = strategies.STRATEGIES[self.base]
        known = {parameter.name for parameter in fields(kind)}
        return kind(**{name: value for name, value in settings.items() if name in known})

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n, d = updates.shape
        generator = round_generator(context)
        order = torch.randperm(d, generator=generator, device=generator.device).to(updates.device)
        piece = torch.empty_like(order)
        piece[order] = torch.arange(d, device=order.device) // -(-d // self.parts)
        target = self._aggregated(updates, order)
        scores = torch.stack([summed_lengths(row - target, piece, self.parts) for row in updates])
        return mean_of_lowest(scores, n - self.byzantine, updates)

    def _aggregated(self, updates: Tensor, order: Tensor) -> Tensor:
        """Return the base's aggregates of the pieces, (d,); `order` (d,) lists the pieces' coordinates."""
        rule, equal, nothing = self._rule(strict=self.strict), as_shares(None, updates), Context()
        if self.base in COLUMNWISE:
            return rule.aggregate(updates, equal, nothing).update
        target = torch.empty_like(updates[0])
        for columns in order.split(-(-len(order) // self.parts)):
            target[columns] = rule.aggregate(updates[:, columns], equal, nothing).update
        return target


def summed_lengths(vector: Tensor, piece: Tensor, parts: int) -> Tensor:
    """Return the sum of the norms of the pieces of a vector (d,), () float64.

    Args:
        vector: (d,).
        piece: piece of each coordinate, 0 to `parts` - 1, (d,).
        parts: number of pieces.

    >>> summed_lengths(torch.tensor([3.0, -1.0, 4.0]), torch.tensor([0, 1, 0]), 2)
    tensor(6., dtype=torch.float64)
    """
    squares = vector.double().square()
    if vector.device.type == "cpu":  # bincount is several times as fast as index_add_
        return torch.from_numpy(np.bincount(piece.numpy(), squares.numpy(), parts)).sqrt().sum()
    totals = torch.zeros(parts, dtype=torch.float64, device=vector.device)
    return totals.index_add_(0, piece, squares).sqrt().sum()


def bases() -> list[str]:
    """Return the names of the rules that can aggregate a piece."""
    cards = {name: kind.card for name, kind in strategies.STRATEGIES.items()}
    return [
        name
        for name, card in cards.items()
        if set(card.needs) <= {"byzantine"} and card.translation_equivariant and card.scale_equivariant
    ]

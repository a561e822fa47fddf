"""GAS: gradient splitting, which judges updates piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import strategies
from strategies.combination import mean_of
from strategies.knobs import positive
from strategies.noise import stream_of
from strategies.rule import Aggregate, Card, Context, Rule, checked, tolerated

COLUMNWISE = {"mean-around-median", "median", "phocas", "trimmed-mean"}
"""Bases that look at one coordinate at a time, so that all pieces can be aggregated together."""


@dataclass(frozen=True, kw_only=True)
class GAS:
    """Average the n - f updates that lie nearest to what another rule makes of random pieces of them.

    Liu, Chen, Lyu, Wu, Wu, Chen, "Byzantine-Robust Learning on Heterogeneous Data via Gradient Splitting",
    ICML 2023. The coordinates are cut at random into `parts` pieces; `base` aggregates each piece, and a
    client's score is the sum over the pieces of its distance from that. Of equal scores the first client's
    wins.

    >>> import torch
    >>> GAS(byzantine=1)(torch.tensor([[1.0], [2.0], [6.0], [90.0]])).update
    tensor([3.])
    """

    byzantine: int = 0
    parts: int = 1000
    base: str = "median"
    """The registered name of a rule that needs no more than the updates, and moves and scales with them."""

    card: ClassVar = Card(
        paper="Liu et al., ICML 2023",
        needs=("byzantine", "randomness"),
        precondition="n > 2f, and what the base needs",
        cost="that of the base, and O(n d) reads out of order",
        deviations="Any base will do; the authors' code has Bulyan, which takes its time for each piece.",
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)
        positive(parts=self.parts)
        if self.base not in bases():
            raise ValueError(f"base: got {self.base!r}, wanted one of {', '.join(bases())}.")

    @property
    def minimum(self) -> int:
        return max(2 * self.byzantine + 1, self._rule.minimum)

    @property
    def _rule(self) -> Rule:
        kind = strategies.STRATEGIES[self.base]
        tolerant = "byzantine" in kind.card.needs
        return kind(byzantine=self.byzantine) if tolerant else kind()  # type: ignore[call-arg]

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        n, d = updates.shape
        generator = stream_of(context)
        order = torch.randperm(d, generator=generator, device=generator.device).to(updates.device)
        shuffled = updates[:, order]
        target, size = self._aggregated(shuffled), -(-d // self.parts)
        scores = torch.stack([summed_lengths(row - target, size) for row in shuffled])
        return mean_of(scores.sort(stable=True).indices[: n - self.byzantine], updates)

    def _aggregated(self, updates: Tensor) -> Tensor:
        """Return what the base makes of each piece, side by side, (d,)."""
        if self.base in COLUMNWISE:
            return self._rule(updates).update
        return torch.cat([self._rule(piece).update for piece in updates.chunk(self.parts, dim=1)])


def summed_lengths(vector: Tensor, size: int) -> Tensor:
    """Return the sum of the norms of the pieces of `size` into which a vector (d,) is cut, () float64.

    >>> summed_lengths(torch.tensor([3.0, 4.0, -1.0]), 2)
    tensor(6., dtype=torch.float64)
    """
    padded = torch.nn.functional.pad(vector, (0, -len(vector) % size))
    norms: Tensor = torch.linalg.vector_norm(padded.reshape(-1, size), dim=1)
    return norms.double().sum()


def bases() -> list[str]:
    """Return the rules that can judge a piece: they need no more, and move and scale with it."""
    cards = {name: kind.card for name, kind in strategies.STRATEGIES.items()}
    return [
        name
        for name, card in cards.items()
        if set(card.needs) <= {"byzantine"} and card.translation_equivariant and card.scale_equivariant
    ]

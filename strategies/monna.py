"""MoNNA: mean of the nearest neighbours of an update that is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.combination import mean_of
from strategies.distances import row_norms
from strategies.rule import Aggregate, Card, Context, PreconditionError, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class MoNNA:
    """Average the n - f updates nearest to the trusted client's, which is one of them.

    Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan, "Robust Collaborative Learning with Linear
    Gradient Overhead", ICML 2023. There everybody trusts itself; a server has to name somebody. Of equal
    distances the first client's wins.

    Raises:
        PreconditionError: the trusted node sent no update in this round.

    >>> import torch
    >>> MoNNA(byzantine=1)(torch.tensor([[1.0], [3.0], [50.0]])).update
    tensor([2.])
    """

    byzantine: int = 0
    trusted: int | None = None
    """The node to trust; without nodes in the context, the row. None trusts the first row, as ByzFL does."""

    card: ClassVar = Card(
        paper="Farhadkhani et al., ICML 2023",
        needs=("byzantine",),
        precondition="n > 2f, and the trusted client honest",
        deviations="ByzFL trusts a row (`idx`), which another node fills when the sample changes.",
        permutation_equivariant=False,
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)
        if self.trusted is not None and self.trusted < 0:
            raise ValueError(f"trusted: got {self.trusted}, wanted a node, 0 or more, or none for the first.")

    @property
    def minimum(self) -> int:
        return 2 * self.byzantine + 1

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        trusted = updates[self._row(len(updates), context)]
        nearest = row_norms(updates, origin=trusted).sort(stable=True).indices
        return mean_of(nearest[: len(updates) - self.byzantine], updates)

    def _row(self, n: int, context: Context | None) -> int:
        if self.trusted is None:
            return 0
        nodes = range(n) if context is None or context.nodes is None else context.nodes
        if self.trusted not in nodes:
            raise PreconditionError(
                f"{self!r} got no update of the node that it trusts, {self.trusted}. Trust another, or let "
                "every node take part."
            )
        return nodes.index(self.trusted)

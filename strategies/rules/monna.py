"""MoNNA: mean of the nearest neighbours of a trusted update."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard, refuse_non_finite
from strategies.kernels.distances import row_norms
from strategies.kernels.weighted_sums import mean_of_lowest
from strategies.tolerance import RelaxableRule


@dataclass(frozen=True, kw_only=True)
class MoNNA(RelaxableRule):
    """Average the n - f updates nearest to the trusted client's update, which is included.

    Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan, "Robust Collaborative Learning with Linear
    Gradient Overhead", ICML 2023. In the paper every client trusts itself. Here the parameter
    `trusted` names the client. Of equally far updates, the first clients' are kept.

    Raises:
        PreconditionError: the trusted client sent no update in this round.

    >>> import torch
    >>> MoNNA(byzantine=1)(torch.tensor([[1.0], [3.0], [50.0]])).update
    tensor([2.])
    """

    trusted: int | None = None
    """Client to trust, or its row if the context names no clients. Default: the first row, as in ByzFL."""

    card: ClassVar = RuleCard(
        paper="Farhadkhani et al., ICML 2023",
        needs=("byzantine",),
        precondition="n > 2f, and the trusted client honest",
        deviations="ByzFL trusts a row (`idx`), which belongs to another client when the sample changes.",
        permutation_equivariant=False,
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trusted is not None and self.trusted < 0:
            raise ValueError(
                f"trusted: got {self.trusted}, expected a client, 0 or more, or none for the first."
            )

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        trusted = updates[self._row(context)]
        distances = row_norms(updates, origin=trusted)
        refuse_non_finite(updates, distances)
        return mean_of_lowest(distances, len(updates) - self.byzantine, updates)

    def obstacle(self, clients: int, client_ids: Container[int] | None) -> str | None:
        if self.trusted is None or self.trusted in (range(clients) if client_ids is None else client_ids):
            return None
        return (
            f"{self!r} gets no update of client {self.trusted}, expected one in every round. "
            "Trust another client, or sample every client per round."
        )

    def trusted_client(self, client_ids: Sequence[int]) -> int | None:
        return client_ids[0] if self.trusted is None else self.trusted

    def _row(self, context: Context) -> int:
        if self.trusted is None or context.client_ids is None:
            return self.trusted or 0
        return context.client_ids.index(self.trusted)

"""Multi-Krum: average the updates that Krum scores best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from strategies.combination import mean_of
from strategies.distances import Power, krum_scores, squared_distances
from strategies.rule import Aggregate, Card, Context, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class MultiKrum:
    """Average the `select` updates with the smallest Krum scores, by default n - f of them.

    Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
    Gradient Descent", NeurIPS 2017.

    >>> import torch
    >>> MultiKrum(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [2.0], [50.0]])).update
    tensor([2.])
    """

    byzantine: int = 0
    select: int | None = None
    """How many updates to average; None is n - f."""
    excluded: Literal[1, 2] = 2
    """As in Krum."""
    power: Power = 2
    """As in Krum."""

    card: ClassVar = Card(
        paper="Blanchard et al., NeurIPS 2017",
        needs=("byzantine",),
        precondition="n > 2f + 2",
        cost="O(n^2 d)",
        deviations="ByzFL averages n - f as here; Flower's default is 1, others n - f - 2: see `select`.",
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)
        if self.select is not None and self.select < 1:
            raise ValueError(f"select: got {self.select}, wanted at least 1 update to average.")

    @property
    def minimum(self) -> int:
        return max(2 * self.byzantine + 3, self.select or 0)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        neighbours = len(updates) - self.byzantine - self.excluded
        scores = krum_scores(squared_distances(updates), neighbours=neighbours, power=self.power)
        select = self.select or len(updates) - self.byzantine
        return mean_of(scores.sort(stable=True).indices[:select], updates)

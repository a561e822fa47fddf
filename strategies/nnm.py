"""Nearest-neighbour mixing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.distances import squared_distances
from strategies.rule import Card, Context, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class NNM:
    """Replace every update by the mean of its n - f nearest, itself included.

    Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A Recipe for Optimal
    Byzantine ML under Heterogeneity", AISTATS 2023. Of equally near updates the first clients' count.

    >>> NNM(byzantine=1)(torch.tensor([[1.0], [2.0], [9.0]]))
    tensor([[0.5000, 0.5000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.0000, 0.5000, 0.5000]], dtype=torch.float64)
    """

    byzantine: int = 0

    card: ClassVar = Card(
        paper="Allouah et al., AISTATS 2023",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n^2 d)",
        deviations="ByzFL gathers n (n - f) rows and takes any f < n; here it is one product of matrices.",
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )
    aligned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        tolerated(self.byzantine)

    @property
    def minimum(self) -> int:
        return 2 * self.byzantine + 1

    def rows(self, n: int) -> int:
        return n

    def __call__(self, updates: Tensor, context: Context | None = None) -> Tensor:
        updates, _ = checked(self, updates, None)
        kept = len(updates) - self.byzantine
        distances = squared_distances(updates).fill_diagonal_(-1)
        nearest = distances.sort(dim=1, stable=True).indices[:, :kept]
        return torch.zeros_like(distances).scatter_(1, nearest, 1 / kept)

"""MDA: minimum diameter averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.combination import mean_of
from strategies.distances import squared_distances
from strategies.rule import Aggregate, ByzantineRule, Card, Context, PreconditionError, positive
from strategies.vertex_cover import CoverSearch, TooHardError


@dataclass(frozen=True, kw_only=True)
class MDA(ByzantineRule):
    """Average the n - f updates with the smallest diameter, their largest pairwise distance.

    El Mhamdi, Guerraoui, Guirguis, Hoang, Rouault, "Genuinely Distributed Byzantine Machine Learning", PODC
    2020, after Rousseeuw, "Multivariate estimation with high breakdown point", 1985. The result is
    exact: two updates are in conflict if they are farther apart than a given distance, and a search finds the
    smallest distance for which the removal of f updates resolves all conflicts. Of subsets of equal diameter,
    the first one in the order of the clients is averaged.

    Raises:
        PreconditionError: the search needs more than `steps` steps.

    >>> import torch
    >>> MDA(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [90.0]])).update
    tensor([2.])
    """

    steps: int = 100_000
    """Largest number of nodes of the search tree. Random updates of 100 clients take about 100 nodes. The
    worst case grows like 1.4^f."""

    card: ClassVar = Card(
        paper="El Mhamdi et al., PODC 2020; Rousseeuw, 1985",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n^2 d + 1.4^f n^2)",
        deviations="ByzFL and ByzantineMomentum try all C(n, f) subsets: the same result.",
        permutation_equivariant=False,  # of subsets with the same widest pair, the first is averaged
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(steps=self.steps)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        try:
            rows = self._narrowest(squared_distances(updates).cpu())
        except TooHardError:
            raise PreconditionError(
                f"{self!r} found no answer for {len(updates)} updates within its {self.steps:,} steps. Raise "
                "`steps`, tolerate fewer malicious clients, or use multi-krum."
            ) from None
        return mean_of(torch.tensor(rows, device=updates.device), updates)

    def _narrowest(self, distances: Tensor) -> list[int]:
        """Return the first (n - f)-subset of smallest diameter, given distances (n, n)."""
        search, removals = CoverSearch(self.steps), self.byzantine
        everybody = (1 << len(distances)) - 1
        widths = distances.unique()
        low, high = 0, len(widths) - 1
        while low < high:
            middle = (low + high) // 2
            if search.coverable(farther(distances, widths[middle]), everybody, removals):
                high = middle
            else:
                low = middle + 1
        return search.first_survivors(farther(distances, widths[low]), removals)


def farther(distances: Tensor, width: Tensor) -> list[int]:
    """Return, for each row, the rows farther away than `width`, as bit masks."""
    far = (distances > width).tolist()
    return [sum(1 << column for column, is_far in enumerate(row) if is_far) for row in far]

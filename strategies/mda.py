"""MDA: minimum diameter averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.combination import mean_of
from strategies.distances import squared_distances
from strategies.knobs import positive
from strategies.rule import Aggregate, Card, Context, PreconditionError, checked, tolerated
from strategies.vertex_cover import CoverSearch, TooHardError


@dataclass(frozen=True, kw_only=True)
class MDA:
    """Average the n - f updates that lie closest together: those whose largest distance is smallest.

    El Mhamdi, Guerraoui, Guirguis, Hoang, Rouault, "Genuinely Distributed Byzantine Machine Learning", PODC
    2020, after Rousseeuw, "Multivariate estimation with high breakdown point", 1985. Exact: updates
    farther apart than some distance are in conflict, and the smallest distance is sought at which the
    removal of f of them leaves none in conflict. Of equally wide subsets the one that comes first in the
    order of the clients wins.

    Raises:
        PreconditionError: the search took more than `steps`.

    >>> import torch
    >>> MDA(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [90.0]])).update
    tensor([2.])
    """

    byzantine: int = 0
    steps: int = 100_000
    """Give up after so many nodes of the search tree. Random updates of 100 clients take about 100; the worst
    case grows like 1.4^f."""

    card: ClassVar = Card(
        paper="El Mhamdi et al., PODC 2020; Rousseeuw, 1985",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n^2 d + 1.4^f n^2)",
        deviations="ByzFL and ByzantineMomentum try all C(n, f) subsets: the same result.",
        permutation_equivariant=False,  # several subsets may share the widest pair, and the first one wins
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)
        positive(steps=self.steps)

    @property
    def minimum(self) -> int:
        return 2 * self.byzantine + 1

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        try:
            rows = self._narrowest(squared_distances(updates).cpu())
        except TooHardError:
            raise PreconditionError(
                f"{self!r} found no answer for {len(updates)} updates within its {self.steps:,} steps. Raise "
                "`steps`, tolerate fewer malicious clients, or use multi-krum."
            ) from None
        return mean_of(torch.tensor(rows, device=updates.device), updates)

    def _narrowest(self, distances: Tensor) -> list[int]:
        """Return the first of the (n - f)-subsets of smallest diameter, given distances (n, n)."""
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
    """Return for each row the rows that lie farther away than `width`, as bit masks."""
    far = (distances > width).tolist()
    return [sum(1 << column for column, is_far in enumerate(row) if is_far) for row in far]

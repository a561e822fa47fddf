"""MDA: minimum diameter averaging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, PreconditionError, RuleCard
from strategies.kernels.distances import squared_distances
from strategies.kernels.weighted_sums import mean_of
from strategies.parameters import positive
from strategies.tolerance import RelaxableRule

Conflicts = Sequence[int]
"""Bit mask of the conflicting vertices of each vertex."""


class TooHardError(Exception):
    """The search needs more steps than its limit."""


class CoverSearch:
    """Bounded search tree that decides whether the removal of a few vertices resolves all conflicts.

    The search removes a vertex of the highest degree, or all its neighbours. Vertices of degree 2 or less
    form paths and rings, where the choice is easy. For k removals the tree has about 1.4^k leaves at most.

    Args:
        steps: largest number of branches of the tree to visit, over all calls.
    """

    def __init__(self, steps: int) -> None:
        self.left = steps

    def coverable(self, conflicts: Conflicts, vertices: int, removals: int) -> bool:
        """Return whether the removal of at most `removals` of the `vertices` (a bit mask) leaves no conflict.

        Raises:
            TooHardError: the steps are used up.

        >>> ring = [0b01010, 0b00101, 0b01010, 0b00101, 0]  # 0-1-2-3-0, and 4 without conflict
        >>> [CoverSearch(9).coverable(ring, 0b11111, removals) for removals in (1, 2)]
        [False, True]
        """
        if removals < 0:
            return False
        if self.left == 0:
            raise TooHardError
        self.left -= 1
        while True:
            degrees = {v: (conflicts[v] & vertices).bit_count() for v in vertices_in(vertices)}
            highest = max(degrees, key=degrees.__getitem__, default=0)
            degree = degrees.get(highest, 0)
            if degree == 0:
                return True
            if sum(degrees.values()) > 2 * removals * degree or matching(conflicts, vertices) > removals:
                return False
            leaf = next((v for v, count in degrees.items() if count == 1), None)
            if leaf is not None:
                vertices &= ~(conflicts[leaf] & vertices)
            elif degree == 2 or degree > removals:
                vertices &= ~(1 << highest)
            else:
                break
            removals -= 1
        neighbours = conflicts[highest] & vertices
        without = vertices & ~(1 << highest)
        return self.coverable(conflicts, without, removals - 1) or self.coverable(
            conflicts, without & ~neighbours, removals - degree
        )

    def first_survivors(self, conflicts: Conflicts, removals: int) -> list[int]:
        """Return the first set of vertices, in their order, that exactly `removals` removals leave.

        Raises:
            TooHardError: the steps are used up.

        >>> CoverSearch(9).first_survivors([0b10, 0b01, 0, 0], 2)
        [0, 2]
        """
        survivors = len(conflicts) - removals
        left = (1 << len(conflicts)) - 1
        kept: list[int] = []
        for vertex in range(len(conflicts)):
            if len(kept) == survivors or not left >> vertex & 1:
                continue
            rivals = conflicts[vertex] & left
            rest = left & ~(1 << vertex)
            without_rivals = removals - rivals.bit_count()
            if self.coverable(conflicts, rest & ~rivals, without_rivals):
                kept.append(vertex)
                left, removals = rest & ~rivals, without_rivals
            else:
                left, removals = rest, removals - 1
        return kept


def matching(conflicts: Conflicts, vertices: int) -> int:
    """Return the size of a matching, a lower bound on the number of removals."""
    pairs = 0
    for v in vertices_in(vertices):
        rivals = conflicts[v] & vertices
        if vertices >> v & 1 and rivals:
            vertices &= ~(rivals & -rivals | 1 << v)
            pairs += 1
    return pairs


def vertices_in(vertices: int) -> list[int]:
    """Return the vertices in a bit mask, in order.

    >>> vertices_in(0b1101)
    [0, 2, 3]
    """
    return [v for v in range(vertices.bit_length()) if vertices >> v & 1]


@dataclass(frozen=True, kw_only=True)
class MDA(RelaxableRule):
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
    """Largest number of branches of the search tree. Random updates of 100 clients need about 100. The
    worst case grows like 1.4^f."""

    card: ClassVar = RuleCard(
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
                f"{self!r} needs more than {self.steps:,} steps for {len(updates)} updates. Raise "
                "`steps`, tolerate fewer malicious clients, or use multi-krum."
            ) from None
        return mean_of(torch.tensor(rows, device=updates.device), updates)

    def _narrowest(self, distances: Tensor) -> list[int]:
        """Return the first (n - f)-subset of smallest diameter, given distances (n, n)."""
        search, removals = CoverSearch(self.steps), self.byzantine
        everything = (1 << len(distances)) - 1
        widths = distances.unique()
        low, high = 0, len(widths) - 1
        while low < high:
            middle = (low + high) // 2
            if search.coverable(farther_masks(distances, widths[middle]), everything, removals):
                high = middle
            else:
                low = middle + 1
        return search.first_survivors(farther_masks(distances, widths[low]), removals)


def farther_masks(distances: Tensor, width: Tensor) -> list[int]:
    """Return, for each row, the rows farther away than `width`, as bit masks."""
    far = (distances > width).tolist()
    return [sum(1 << column for column, is_far in enumerate(row) if is_far) for row in far]

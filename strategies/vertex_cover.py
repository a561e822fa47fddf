"""Small vertex covers, exactly: who has to go so that no two who stay are in conflict."""

from __future__ import annotations

from collections.abc import Sequence

Conflicts = Sequence[int]
"""For each vertex the set of those it conflicts with, as a bit mask."""


class TooHardError(Exception):
    """The search took more steps than it was allowed."""


class CoverSearch:
    """Decides whether the removal of a few vertices resolves all conflicts, by a bounded search tree.

    A vertex of the highest degree goes, or all its neighbours do. What is left of degree 2 or less is
    paths and rings, where the choice is easy. With k removals the tree has at most about 1.4^k leaves.

    Args:
        steps: nodes of the tree that may be visited over the life of the search.
    """

    def __init__(self, steps: int) -> None:
        self.left = steps

    def coverable(self, conflicts: Conflicts, vertices: int, removals: int) -> bool:
        """Return whether `removals` of the `vertices` (a bit mask) can go so that no conflict is left.

        Raises:
            TooHardError: the steps are used up.

        >>> ring = [0b01010, 0b00101, 0b01010, 0b00101, 0]  # 0-1-2-3-0, and 4 at peace
        >>> [CoverSearch(9).coverable(ring, 0b11111, removals) for removals in (1, 2)]
        [False, True]
        """
        if removals < 0:
            return False
        if self.left == 0:
            raise TooHardError
        self.left -= 1
        while True:
            degrees = {v: (conflicts[v] & vertices).bit_count() for v in members(vertices)}
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
        """Return who stays when exactly `removals` vertices go: the first such set in their order.

        Raises:
            TooHardError: the steps are used up.

        >>> CoverSearch(9).first_survivors([0b10, 0b01, 0, 0], 2)
        [0, 2]
        """
        wanted = len(conflicts) - removals
        left = (1 << len(conflicts)) - 1
        kept: list[int] = []
        for vertex in range(len(conflicts)):
            if len(kept) == wanted or not left >> vertex & 1:
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
    """Return the size of a matching: so many removals are needed at least."""
    pairs = 0
    for v in members(vertices):
        rivals = conflicts[v] & vertices
        if vertices >> v & 1 and rivals:
            vertices &= ~(rivals & -rivals | 1 << v)
            pairs += 1
    return pairs


def members(vertices: int) -> list[int]:
    """Return the vertices in a bit mask, in order.

    >>> members(0b1101)
    [0, 2, 3]
    """
    return [v for v in range(vertices.bit_length()) if vertices >> v & 1]

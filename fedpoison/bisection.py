"""The smallest whole number that breaks something: a coarse grid, then bisection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key")
Verdicts = Mapping[int, bool]
"""By count, whether it broke what was tried with it."""


def smallest_broken(verdicts: Verdicts) -> int | None:
    """Return the smallest count that broke; None where none did."""
    return min((count for count, broke in verdicts.items() if broke), default=None)


def held_above(verdicts: Verdicts) -> list[int]:
    """Return the counts that held although a smaller one broke: where there are any, more is not worse.

    >>> held_above({0: False, 2: True, 4: False, 6: True})
    [4]
    """
    first = smallest_broken(verdicts)
    return (
        [] if first is None else sorted(count for count in verdicts if count > first and not verdicts[count])
    )


def next_counts(grid: Sequence[int], verdicts: Verdicts) -> list[int]:
    """Return the counts to try next: first the grid, then one by one the middle of the gap that is left.

    The gap lies between the smallest count that broke and the largest below it that held. Nothing is left
    once they are neighbours, or if nothing broke.

    >>> next_counts([0, 4, 8], {}), next_counts([0, 4, 8], {0: False, 4: False, 8: True})
    ([0, 4, 8], [6])
    """
    if not verdicts:
        return list(grid)
    first = smallest_broken(verdicts)
    if first is None:
        return []
    held = max((count for count in verdicts if count < first), default=first)
    return [(held + first) // 2] if first - held > 1 else []


def explore(
    grids: Mapping[Key, Sequence[int]],
    play: Callable[[Sequence[tuple[Key, int]]], Mapping[tuple[Key, int], bool]],
) -> dict[Key, dict[int, bool]]:
    """Return the verdicts by which the smallest count that breaks is found for every key.

    After its grid a key costs at most log2 of the widest gap in it, rounded up.

    Args:
        grids: for each key the counts to try first.
        play: tries what one step of all keys asks for, together, and tells what broke.
    """
    verdicts: dict[Key, dict[int, bool]] = {key: {} for key in grids}
    while asked := [(key, count) for key in grids for count in next_counts(grids[key], verdicts[key])]:
        for (key, count), broke in play(asked).items():
            verdicts[key][count] = broke
    return verdicts

"""Bisection of counts: the smallest count that breaks each key, by a coarse grid and halved gaps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key")
Verdicts = Mapping[int, bool]
"""By count, whether it broke the strategy."""


def smallest_breaking(verdicts: Verdicts) -> int | None:
    """Return the smallest count that broke the strategy; None without one."""
    return min((count for count, broke in verdicts.items() if broke), default=None)


def held_above(verdicts: Verdicts) -> list[int]:
    """Return the counts that held although a smaller count broke the strategy.

    >>> held_above({0: False, 2: True, 4: False, 6: True})
    [4]
    """
    first = smallest_breaking(verdicts)
    return (
        [] if first is None else sorted(count for count in verdicts if count > first and not verdicts[count])
    )


def next_counts(grid: Sequence[int], verdicts: Verdicts) -> list[int]:
    """Return the counts to try next: first the grid, then the middle of the remaining gap.

    The gap is between the smallest count that broke and the largest smaller count that held. The search ends
    when they are neighbours, or if no count broke.

    >>> next_counts([0, 4, 8], {}), next_counts([0, 4, 8], {0: False, 4: False, 8: True})
    ([0, 4, 8], [6])
    """
    if not verdicts:
        return list(grid)
    first = smallest_breaking(verdicts)
    if first is None:
        return []
    held = max((count for count in verdicts if count < first), default=first)
    return [(held + first) // 2] if first - held > 1 else []


def find_thresholds(
    grids: Mapping[Key, Sequence[int]],
    run_counts: Callable[[Sequence[tuple[Key, int]]], Mapping[tuple[Key, int], bool]],
) -> dict[Key, dict[int, bool]]:
    """Find the smallest breaking count of every key by bisection, and return all verdicts.

    After its grid, a key takes at most log2 of the widest gap in the grid, rounded up.

    Args:
        grids: Counts to try first, by key.
        run_counts: Runs one step of all keys together, and returns which counts broke.
    """
    verdicts: dict[Key, dict[int, bool]] = {key: {} for key in grids}
    while asked := [(key, count) for key in grids for count in next_counts(grids[key], verdicts[key])]:
        for (key, count), broke in run_counts(asked).items():
            verdicts[key][count] = broke
    return verdicts

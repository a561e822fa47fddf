"""How much of the runs goes into the page, so that it stays small enough to be sent around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CURVE_VALUES = 900_000
CONFUSION_VALUES = 900_000
TRUST_NUMBERS = 600_000
"""Numbers in the page of each kind, over all runs."""
MAX_CURVE_ROUNDS = 200
MOST_TRUST_ROUNDS = 60
MOST_TRUST_NODES = 150


@dataclass(frozen=True)
class Limits:
    """How many rounds of each run the page holds."""

    curve: int
    """Rounds of the curves of accuracy."""
    matrices: int
    """Rounds with a confusion matrix."""

    @classmethod
    def from_class_counts(cls, classes: Sequence[int]) -> Limits:
        """Return the limits for runs with so many classes each."""
        return cls(
            curve=_fit(CURVE_VALUES, sum(number + 4 for number in classes)),
            matrices=_fit(CONFUSION_VALUES, sum(number**2 for number in classes)),
        )


def _fit(budget: int, size: int) -> int:
    return max(2, min(MAX_CURVE_ROUNDS, budget // size))


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return at most `most` of the places 0 to count - 1, evenly spread; the first and the last are kept.

    >>> evenly_spaced(10, 4)
    [0, 3, 6, 9]
    >>> evenly_spaced(3, 4)
    [0, 1, 2]
    """
    if count <= most:
        return list(range(count))
    return sorted({round(step * (count - 1) / (most - 1)) for step in range(most)})

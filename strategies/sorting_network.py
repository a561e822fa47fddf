"""A sorting network: it sorts the columns of a matrix by comparing whole rows, a few dozen times.

For few rows this beats sorting every column on its own: comparisons of rows need no transposition, no branch,
and go as many columns at a time as the processor's vectors hold.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np


@functools.cache
def comparators(n: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs (low, high) of rows to compare, in order: Batcher's odd-even merge sort.

    Batcher, "Sorting Networks and Their Applications", AFIPS Spring Joint Computer Conference 1968; in the
    iterative form of Knuth, "The Art of Computer Programming", volume 3, section 5.2.2, algorithm M.

    >>> comparators(4)
    ((0, 2), (1, 3), (0, 1), (2, 3), (1, 2))
    """
    pairs = []
    top = 1 << max(0, (n - 1).bit_length() - 1)
    for step in _halves(top):
        within, apart, reach = 0, step, top
        while True:
            pairs += [(low, low + apart) for low in range(n - apart) if low & step == within]
            if reach == step:
                break
            within, apart, reach = step, reach - step, reach // 2
    return tuple(pairs)


def sort_columns(rows: np.ndarray, spare: np.ndarray, out: np.ndarray) -> None:
    """Write the rows (n, c) to `out` (n, c) so that every column ascends; `rows` is used up.

    Args:
        rows: finite values; overwritten.
        spare: (c,), overwritten.
        out: must not share memory with `rows`.
    """
    lines = list(rows)
    for low, high in comparators(len(lines)):
        np.minimum(lines[low], lines[high], out=spare)
        np.maximum(lines[low], lines[high], out=lines[high])
        lines[low], spare = spare, lines[low]  # the smaller ones move, and nothing is copied
    for line, place in zip(lines, out, strict=True):
        np.copyto(place, line)


def _halves(top: int) -> list[int]:
    return list(itertools.takewhile(bool, (top >> shift for shift in range(top.bit_length()))))

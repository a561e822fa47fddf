"""Mean and standard deviation per coordinate over a few long rows, at the speed of reading them."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 4096
"""Columns at a time: a chunk of a hundred rows stays in the processor's cache between its two uses."""


def mean_of(rows: Tensor) -> Tensor:
    """Return the mean (d,) of `rows` (n, d), as a product: several times faster than `Tensor.mean`.

    >>> mean_of(torch.tensor([[1.0, 4.0], [3.0, 0.0]]))
    tensor([2., 2.])
    """
    return rows.new_ones(len(rows)) @ rows / len(rows)


def spread_of(rows: Tensor, mean: Tensor, *, correction: int = 0) -> Tensor:
    """Return the standard deviation (d,) of `rows` (n, d) around their `mean` (d,); 0 for a single row.

    >>> spread_of(torch.tensor([[1.0, 4.0], [3.0, 0.0]]), torch.tensor([2.0, 2.0]))
    tensor([1., 2.])
    """
    n, d = rows.shape
    spread = torch.zeros_like(mean)
    if n > 1:
        ones = rows.new_ones(n)
        for start in range(0, d, CHUNK):
            columns = slice(start, start + CHUNK)
            spread[columns] = ones @ (rows[:, columns] - mean[columns]).square_()
        spread.div_(n - correction).sqrt_()
    return spread

"""The median that is meant: for an even number of values, the mean of the two middle ones."""

from __future__ import annotations

from torch import Tensor


def middle(ordered: Tensor) -> Tensor:
    """Return the median (...) of values (..., n) that ascend along the last axis.

    >>> import torch
    >>> middle(torch.tensor([1.0, 2.0, 4.0, 9.0]))
    tensor(3.)
    """
    n = ordered.shape[-1]
    below, above = ordered[..., (n - 1) // 2], ordered[..., n // 2]
    return below + (above - below) / 2


def median_of(values: Tensor) -> Tensor:
    """Return the median (...) of values (..., n) in any order."""
    return middle(values.sort(dim=-1).values)

"""Clipping to a norm, which many defences do before they average."""

from __future__ import annotations

import torch
from torch import Tensor


def middle(values: Tensor) -> Tensor:
    """Return the median of `values` (n,); for even n, the mean of the two middle ones.

    >>> middle(torch.tensor([4.0, 1.0, 2.0, 9.0]))
    tensor(3.)
    """
    ordered = values.sort().values
    low, high = ordered[(len(values) - 1) // 2], ordered[len(values) // 2]
    return low + (high - low) / 2


def clip_factors(sizes: Tensor, bound: Tensor) -> Tensor:
    """Return what to multiply rows of norm `sizes` (n,) by, so that none is longer than `bound`.

    >>> clip_factors(torch.tensor([0.0, 1.0, 4.0]), torch.tensor(2.0))
    tensor([1.0000, 1.0000, 0.5000])
    """
    return torch.where(sizes > bound, bound / sizes, 1)

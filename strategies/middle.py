"""The median of a few numbers."""

from __future__ import annotations

from torch import Tensor


def middle(values: Tensor) -> Tensor:
    """Return the median of `values` (n,); for even n, the mean of the two middle ones.

    >>> import torch
    >>> middle(torch.tensor([4.0, 1.0, 2.0, 9.0]))
    tensor(3.)
    """
    ordered = values.sort().values
    low, high = ordered[(len(values) - 1) // 2], ordered[len(values) // 2]
    return low + (high - low) / 2

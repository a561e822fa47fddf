"""The factors that clip updates to a norm."""

from __future__ import annotations

import torch
from torch import Tensor


def clip_factors(norms: Tensor, bound: float | Tensor) -> Tensor:
    """Return the factors (n,) that clip rows of these `norms` (n,) to `bound`.

    >>> clip_factors(torch.tensor([0.0, 1.0, 4.0]), 2.0)
    tensor([1.0000, 1.0000, 0.5000])
    """
    return torch.where(norms > bound, bound / norms, 1.0)

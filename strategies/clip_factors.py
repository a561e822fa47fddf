"""What shortens updates to a length, for everything that clips."""

from __future__ import annotations

import torch
from torch import Tensor


def clip_factors(norms: Tensor, bound: float | Tensor) -> Tensor:
    """Return what to multiply rows of these `norms` (n,) by, so that none is longer than `bound`.

    >>> clip_factors(torch.tensor([0.0, 1.0, 4.0]), 2.0)
    tensor([1.0000, 1.0000, 0.5000])
    """
    return torch.where(norms > bound, bound / norms, 1.0)

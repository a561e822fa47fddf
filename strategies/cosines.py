"""The angles between updates, right for rows of any finite size."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.chunks import COLUMNS
from strategies.distances import gram

NOTHING = 1e-6
"""A cosine distance below this is rounding: the rows point the same way."""
VANISHING = 1e-30
"""Squared lengths below this may have lost coordinates whose square float32 cannot hold."""


def lengths_and_cosines(updates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms (n,) of the rows of `updates` (n, d) and the cosines (n, n) between them, in float64.

    A row of zeros has cosine 0 with every row, itself included.

    >>> lengths_and_cosines(torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))[1][0]
    tensor([ 1.,  0., -1.], dtype=torch.float64)
    """
    products = gram(updates)
    peaks = torch.ones(len(updates), dtype=torch.float64, device=updates.device)
    if not _representable(products.diagonal()):
        peaks = _peaks(updates)
        products.zero_()
        for block in updates.split(COLUMNS, dim=1):
            products += gram(block / peaks[:, None].to(block.dtype))
    sizes = products.diagonal().clone().sqrt()
    scale = torch.where(sizes > 0, sizes, 1)
    angles = products / (scale[:, None] * scale)
    angles = ((angles + angles.T) / 2).clamp_(-1, 1)
    angles.diagonal().copy_(sizes > 0)
    return sizes * peaks, angles


def cosine_distances(angles: Tensor) -> Tensor:
    """Return 1 minus the cosines (n, n): 0 on the diagonal, and exactly 0 where it is no more than rounding.

    >>> cosine_distances(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    tensor([[0.0000, 0.5000],
            [0.5000, 0.0000]])
    """
    distances = 1 - angles
    distances[distances < NOTHING] = 0
    return distances.fill_diagonal_(0)


def _representable(squared: Tensor) -> bool:
    return bool((squared.isfinite() & (squared > VANISHING)).all())


def _peaks(updates: Tensor) -> Tensor:
    """Return the largest absolute coordinate of each row, (n,) float64, and 1 for rows of zeros."""
    peaks = torch.maximum(updates.amax(dim=1), -updates.amin(dim=1)).double()
    return torch.where(peaks > 0, peaks, 1)

"""The angles between updates."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.distances import gram

NOTHING = 1e-6
"""A cosine distance below this is rounding: the rows point the same way."""


def lengths_and_cosines(updates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms (n,) of the rows of `updates` (n, d) and the cosines (n, n) between them, in float64.

    A row of zeros has cosine 0 with every row, itself included.

    >>> lengths_and_cosines(torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))[1][0]
    tensor([ 1.,  0., -1.], dtype=torch.float64)
    """
    products = gram(updates)
    sizes = products.diagonal().sqrt()
    scale = torch.where(sizes > 0, sizes, 1)
    angles = products / (scale[:, None] * scale)
    angles = ((angles + angles.T) / 2).clamp_(-1, 1)
    angles.diagonal().copy_(sizes > 0)
    return sizes, angles


def cosine_distances(angles: Tensor) -> Tensor:
    """Return 1 minus the cosines (n, n): 0 on the diagonal, and exactly 0 where it is no more than rounding.

    >>> cosine_distances(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    tensor([[0.0000, 0.5000],
            [0.5000, 0.0000]])
    """
    distances = 1 - angles
    distances[distances < NOTHING] = 0
    return distances.fill_diagonal_(0)

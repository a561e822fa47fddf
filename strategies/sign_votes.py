"""Votes on the sign of every coordinate, one client one vote."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 4096
"""Columns at a time: 100 clients' signs of one chunk fill 1.6 MB and stay in the cache."""


def sign_votes(updates: Tensor) -> Tensor:
    """Return the sum of the signs of every coordinate, (d,), for updates (n, d).

    >>> sign_votes(torch.tensor([[1.0, -2.0], [5.0, 3.0], [0.1, 0.0]]))
    tensor([3., 0.])
    """
    return torch.cat([block.sign().sum(dim=0) for block in updates.split(CHUNK, dim=1)])


def agreement(updates: Tensor, direction: Tensor) -> Tensor:
    """Return how many coordinates of each update have the sign that `direction` (d,) has, (n,) float64.

    Coordinates in which the direction is 0 count for nobody.

    >>> agreement(torch.tensor([[1.0, -2.0, 0.0], [-5.0, -3.0, 2.0]]), torch.tensor([2.0, -1.0, 0.0]))
    tensor([2., 1.], dtype=torch.float64)
    """
    counts = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
    for block, wanted in zip(updates.split(CHUNK, dim=1), direction.split(CHUNK), strict=True):
        counts += ((block.sign() == wanted.sign()) & (wanted != 0)).sum(dim=1)
    return counts

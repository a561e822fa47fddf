"""Votes on the sign of every coordinate, one client one vote."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 4096
"""Columns at a time: 100 clients' signs of one chunk fill 1.6 MB and stay in the cache."""


def sign_votes(updates: Tensor) -> Tensor:
    """Return the sum of the signs of every coordinate, (d,) float32, for updates (n, d).

    >>> sign_votes(torch.tensor([[1.0, -2.0], [5.0, 3.0], [0.1, 0.0]]))
    tensor([3., 0.])
    """
    voters = torch.ones(len(updates), device=updates.device)
    return torch.cat([voters @ block.sign().float() for block in updates.split(CHUNK, dim=1)])


def agreement(updates: Tensor, direction: Tensor) -> Tensor:
    """Return in how many coordinates each update has the sign that `direction` (d,) has, (n,) float64.

    Coordinates in which either is 0 do not count.

    >>> agreement(torch.tensor([[1.0, -2.0, 0.0], [-5.0, -3.0, 2.0]]), torch.tensor([2.0, -1.0, 0.0]))
    tensor([2., 1.], dtype=torch.float64)
    """
    counts = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
    for block, part in zip(updates.split(CHUNK, dim=1), direction.split(CHUNK), strict=True):
        signs, wanted = block.sign().float(), part.sign().float()
        surplus = signs @ wanted  # of those that agree over those that do not
        counts += (surplus + signs.abs_() @ wanted.abs()) / 2
    return counts

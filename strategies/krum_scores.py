"""Krum's scores, for Krum, Multi-Krum and Bulyan."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from strategies.order_statistics import ascending

Power = Literal[1, 2, 4]


def krum_scores(squared: Tensor, *, neighbours: int, power: Power = 2) -> Tensor:
    """Compute Krum's scores: the sum of the distances of each update to its nearest neighbours, (n,) float64.

    Args:
        squared: squared distances between the updates, (n, n).
        neighbours: number of nearest others that count, 1 to n - 1.
        power: exponent of the distance, 2 in the paper.

    >>> krum_scores(torch.tensor([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]), neighbours=1)
    tensor([1., 1., 4.])
    """
    others = squared.clone().fill_diagonal_(torch.inf)
    nearest = ascending(others)[:, :neighbours]
    return nearest.pow(power / 2).sum(dim=1)

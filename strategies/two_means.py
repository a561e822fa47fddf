"""The best split of numbers on a line into two clusters, found exactly."""

from __future__ import annotations

import torch
from torch import Tensor


def two_means(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many numbers the lower cluster has, and how far apart the two centres are, (c,) each.

    Two clusters of numbers are always two runs of the sorted row, so trying each of the n - 1 cuts finds
    the least sum of squares, which k-means only approaches.

    Args:
        ordered: (c, n) float64, ascending along each row, n at least 2.

    >>> two_means(torch.tensor([[0.0, 1.0, 9.0]]))
    (tensor([2]), tensor([8.5000]))
    """
    n = ordered.shape[1]
    centred = ordered - ordered[:, n // 2, None]
    sums = centred.cumsum(dim=1)
    below = torch.arange(1, n, device=ordered.device)
    low = sums[:, :-1] / below
    high = (sums[:, -1:] - sums[:, :-1]) / (n - below)
    apart = high - low
    between = (below * (n - below)) * apart.square()
    cut = between.argmax(dim=1)
    return cut + 1, apart.gather(1, cut[:, None]).squeeze(1)

"""The direction of largest variance of weighted updates, for the spectral rules."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.kernels.columns import one_thread


def principal_direction(squared: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """Return the largest variance, and the rows' squared deviations (n,) along its direction.

    The covariance (d, d) and the weighted, centred inner products (n, n) have the same eigenvalues, so the
    covariance is never formed.

    Args:
        squared: squared distances between the rows, (n, n) float64.
        weights: the rows' weights, (n,) float64, not all 0.

    Raises:
        OverflowError: a distance is not finite.

    >>> line = torch.tensor([-1.0, 1.0, 3.0], dtype=torch.float64)
    >>> weights = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    >>> variance, deviations = principal_direction((line[:, None] - line).square(), weights)
    >>> round(variance, 6), deviations.round(decimals=6)
    (1.0, tensor([1., 1., 9.], dtype=torch.float64))
    """
    if not bool(squared.isfinite().all()):
        raise OverflowError("the squared distances overflow")
    shares = weights / weights.sum()
    roots = shares.sqrt()
    with one_thread():  # more threads change the last bits of the eigenvectors
        towards = squared @ shares
        centred = (towards[:, None] + towards - squared - shares @ towards) / 2
        values, vectors = torch.linalg.eigh(roots[:, None] * centred * roots)
        variance = float(values[-1])
        if variance <= 0:
            return 0.0, torch.zeros_like(shares)
        return variance, (centred @ (roots * vectors[:, -1])).square() / variance


def without_farthest(weights: Tensor, deviations: Tensor) -> Tensor:
    """Return the weights c_i (1 - t_i / max t), (n,): the farthest row with a weight gets 0.

    >>> without_farthest(torch.tensor([1.0, 1.0, 0.5, 0.0]), torch.tensor([0.0, 1.0, 2.0, 9.0]))
    tensor([1.0000, 0.5000, 0.0000, 0.0000])
    """
    kept = weights > 0
    return torch.where(kept, weights * (1 - deviations / deviations[kept].max()), 0)


def two_means(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """Return the size of the lower of two clusters and the distance of the two centres, (c,) each.

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

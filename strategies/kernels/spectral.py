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


def principal_directions(blocks: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return `principal_direction` of several blocks of few columns: variances (b,) and deviations (b, n).

    Args:
        blocks: the rows of each block, (b, n, c) float64.
        weights: the rows' weights in each block, (b, n) float64, none all 0.

    Raises:
        OverflowError: a covariance is not finite.

    >>> lines = torch.tensor([[[-1.0], [1.0], [3.0]]], dtype=torch.float64)
    >>> weights = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    >>> variances, deviations = principal_directions(lines, weights)
    >>> variances, deviations
    (tensor([1.], dtype=torch.float64), tensor([[1., 1., 9.]], dtype=torch.float64))
    """
    shares = weights / weights.sum(dim=1, keepdim=True)
    with one_thread():  # more threads change the last bits of the eigenvectors
        centred = blocks - shares[:, None] @ blocks
        covariances = (shares[:, :, None] * centred).transpose(1, 2) @ centred
        if not bool(covariances.isfinite().all()):
            raise OverflowError("the covariances overflow")
        values, vectors = torch.linalg.eigh(covariances)
        return values[:, -1], (centred @ vectors[:, :, -1:]).squeeze(2).square()


def without_farthest(weights: Tensor, deviations: Tensor) -> Tensor:
    """Return the weights c_i (1 - t_i / max t), (..., n): the farthest row with a weight gets 0.

    >>> without_farthest(torch.tensor([1.0, 1.0, 0.5, 0.0]), torch.tensor([0.0, 1.0, 2.0, 9.0]))
    tensor([1.0000, 0.5000, 0.0000, 0.0000])
    """
    kept = weights > 0
    largest = torch.where(kept, deviations, 0).amax(dim=-1, keepdim=True)
    return torch.where(kept, weights * (1 - deviations / largest), 0)


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

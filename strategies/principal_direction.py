"""The direction of largest variance of weighted updates, for the spectral rules."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.one_thread import one_thread


def principal_direction(squared: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """Return the largest variance, and the rows' squared deviations (n,) along its direction.

    The covariance (d, d) and the weighted, centred inner products (n, n) have the same eigenvalues, so the
    covariance is never formed.

    Args:
        squared: squared distances between the rows, (n, n) float64.
        weights: the rows' weights, (n,) float64, not all 0.

    >>> line = torch.tensor([-1.0, 1.0, 3.0], dtype=torch.float64)
    >>> weights = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    >>> variance, deviations = principal_direction((line[:, None] - line).square(), weights)
    >>> round(variance, 6), deviations.round(decimals=6)
    (1.0, tensor([1., 1., 9.], dtype=torch.float64))
    """
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

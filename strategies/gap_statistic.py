"""The gap statistic of numbers on a line: into how many clusters they fall, or none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Numbers = npt.NDArray[np.float64]

TINY = 1e-12
"""Stands for the within-cluster sum of squares of clusters that are points."""


def gap_statistic(values: Numbers, generator: torch.Generator, *, most: int = 7, references: int = 10) -> int:
    """Return the number of clusters in `values` (n,), at most `most`, by the gap statistic.

    Tibshirani, Walther, Hastie, "Estimating the Number of Clusters in a Data Set via the Gap Statistic",
    JRSS B 2001: the least k whose gap to `references` uniform samples is not below the next one's by more
    than its error.

    >>> gap_statistic(np.array([0.0, 0.01, 0.02, 0.03, 1.0, 1.01]), torch.Generator())
    2
    """
    spread = values.max() - values.min()
    most = min(most, len(values) - 1)
    if spread <= 0 or most < 2:
        return 1
    own = np.log(within(np.sort((values - values.min()) / spread), most))
    uniform = torch.rand((references, len(values)), generator=generator, dtype=torch.float64).numpy()
    chance = np.log(np.stack([within(np.sort(sample), most) for sample in uniform]))
    gaps = np.log(np.exp(chance).mean(axis=0)) - own
    errors = np.sqrt(1 + 1 / references) * chance.std(axis=0)
    enough = gaps[:-1] - gaps[1:] + errors[1:] >= 0
    return int(enough.argmax()) + 1 if enough.any() else most


def within(ordered: Numbers, most: int) -> Numbers:
    """Return the least within-cluster sum of squares for 1 to `most` clusters, (most,), exactly.

    Clusters on a line are runs, so the best k of them are the best k - 1 of a beginning and one more run.

    Args:
        ordered: (n,), ascending.
        most: how many clusters at most.

    >>> within(np.array([0.0, 2.0, 5.0]), 2)
    array([12.66666667,  2.        ])
    """
    n = len(ordered)
    sums = np.concatenate([[0.0], ordered.cumsum()])
    squares = np.concatenate([[0.0], np.square(ordered).cumsum()])
    start, end = np.arange(n)[:, None], np.arange(1, n + 1)[None, :]
    total = sums[None, 1:] - sums[:-1, None]
    run = squares[None, 1:] - squares[:-1, None] - np.square(total) / np.maximum(end - start, 1)
    run = np.where(end > start, np.maximum(run, 0), np.inf)
    best = run[0]
    result = [best[-1]]
    for _ in range(1, most):
        best = np.minimum(best, (np.concatenate([[np.inf], best[:-1]])[:, None] + run).min(axis=0))
        result.append(best[-1])
    return np.maximum(result, TINY)

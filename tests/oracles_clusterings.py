"""The definitions of the clusterings of numbers that rules build on, trying all of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np


def best_cut(values):
    """Return the lower cluster of the best 2-means clustering of numbers, as a set of positions."""
    order = np.argsort(values)
    costs = []
    for cut in range(1, len(values)):
        low, high = values[order[:cut]], values[order[cut:]]
        costs.append(((low - low.mean()) ** 2).sum() + ((high - high.mean()) ** 2).sum())
    return order[: int(np.argmin(costs)) + 1]


def within(values, k):
    """Return the least within-cluster sum of squares of k clusters, trying all of them."""
    values, best = np.sort(values), np.inf
    for cuts in combinations(range(1, len(values)), k - 1):
        parts = np.split(values, cuts)
        best = min(best, sum(((part - part.mean()) ** 2).sum() for part in parts))
    return max(best, 1e-12)


def gap_statistic(values, samples, most):
    scaled = (values - values.min()) / (values.max() - values.min())
    gaps, errors = [], []
    for k in range(1, min(most, len(values) - 1) + 1):
        reference = [within(sample, k) for sample in samples]
        gaps.append(np.log(np.mean(reference)) - np.log(within(scaled, k)))
        errors.append(np.sqrt(1 + 1 / len(samples)) * np.std(np.log(reference)))
    for k in range(1, len(gaps)):
        if gaps[k - 1] - gaps[k] + errors[k] >= 0:
            return k
    return len(gaps)

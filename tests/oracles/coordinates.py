"""The papers' definitions as plain loops: what rules on coordinates and nearest updates are compared with.

Written for reading, in float64, one coordinate and one client at a time. A rule's oracle returns the update
(d,) and the trust (n,).
"""

from __future__ import annotations

import math

import numpy as np


def fedavg(updates, weights=None):
    n, d = updates.shape
    weights = np.ones(n) if weights is None else weights
    trust = np.array([weight / sum(weights) for weight in weights])
    sums = [sum(weights[i] * updates[i, j] for i in range(n)) for j in range(d)]
    return np.array(sums) / sum(weights), trust


def mean_of_rows(updates, rows):
    trust = np.zeros(len(updates))
    trust[rows] = 1 / len(rows)
    return fedavg(updates[rows])[0], trust


def squared_distance(a, b):
    return float(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def krum_scores(updates, neighbours, power=2):
    scores = []
    for i in range(len(updates)):
        others = sorted(squared_distance(updates[i], updates[j]) for j in range(len(updates)) if j != i)
        scores.append(sum(distance ** (power / 2) for distance in others[:neighbours]))
    return scores


def krum(updates, f, excluded=2, power=2):
    scores = krum_scores(updates, len(updates) - f - excluded, power)
    return mean_of_rows(updates, [scores.index(min(scores))])


def multi_krum(updates, f, select=None, excluded=2, power=2):
    scores = krum_scores(updates, len(updates) - f - excluded, power)
    ranked = sorted(range(len(updates)), key=lambda i: (scores[i], i))
    return mean_of_rows(updates, ranked[: len(updates) - f if select is None else select])


def of_columns(updates, keep):
    """Return the mean of what `keep(column)` keeps of each column; the trust is the share of kept values.

    A client whose value equals a kept one counts as kept: nobody can tell the two apart.
    """
    n, d = updates.shape
    kept = [keep(sorted(updates[:, j])) for j in range(d)]
    times = np.array([sum(updates[i, j] in kept[j] for j in range(d)) for i in range(n)])
    return np.array([sum(values) / len(values) for values in kept]), times / times.sum()


def median(updates):
    n = len(updates)
    return of_columns(updates, lambda column: [column[(n - 1) // 2], column[n // 2]])


def trimmed_mean(updates, f):
    return of_columns(updates, lambda column: column[f : len(column) - f])


def nearest(column, centre, count):
    """Return the values nearest to the centre, of two at the same distance the smaller one."""
    return sorted(column, key=lambda value: (abs(value - centre), value))[:count]


def middle(column):
    n = len(column)
    return (column[(n - 1) // 2] + column[n // 2]) / 2


def mean_around_median(updates, f):
    return of_columns(updates, lambda column: nearest(column, middle(column), len(column) - f))


def phocas(updates, f):
    def keep(column):
        core = column[f : len(column) - f]
        return nearest(column, sum(core) / len(core), len(column) - f)

    return of_columns(updates, keep)


def nearest_to_base(updates, f, selection, base):
    left, selected = list(range(len(updates))), []
    while len(selected) < len(updates) - 2 * f:
        distances = np.linalg.norm(updates[left] - base(updates[left]), axis=1)
        ranked = sorted(range(len(left)), key=lambda i: distances[i])
        picked = ranked[:1] if selection == "iterated" else ranked[: len(updates) - 2 * f]
        selected += [left[i] for i in picked]
        left = [row for row in left if row not in selected]
    return selected


def bulyan(updates, f, selection="iterated", base=None):
    n = len(updates)
    if base is not None:
        selected = nearest_to_base(updates, f, selection, base)
    elif selection == "iterated":
        left, selected = list(range(n)), []
        while len(selected) < n - 2 * f:
            rows = updates[left]
            scores = krum_scores(rows, max(1, len(left) - f - 2))
            totals = krum_scores(rows, len(left) - 1)  # the paper leaves ties open
            best = min(range(len(left)), key=lambda i: (scores[i], totals[i], i))
            selected.append(left.pop(best))
    else:
        scores = krum_scores(updates, n - f - 2)
        selected = sorted(range(n), key=lambda i: (scores[i], i))[: n - 2 * f]
    selected.sort()
    beta = n - 4 * f
    update, shares = of_columns(updates[selected], lambda column: nearest(column, middle(column), beta))
    trust = np.zeros(n)
    trust[selected] = shares
    return update, trust


def votes(updates):
    return [sum(np.sign(updates[i, j]) for i in range(len(updates))) for j in range(updates.shape[1])]


def sign_majority(updates, step=None):
    n, d = updates.shape
    majority = np.sign(votes(updates))
    if step is None:
        step = middle(sorted(sum(abs(value) for value in row) / d for row in updates))
    times = np.array(
        [sum(majority[j] != 0 and np.sign(updates[i, j]) == majority[j] for j in range(d)) for i in range(n)]
    )
    return step * majority, times / max(1, times.sum())


def robust_learning_rate(updates, threshold=None, weights=None):
    n, d = updates.shape
    threshold = math.ceil(0.4 * n) if threshold is None else threshold
    mean, shares = fedavg(updates, weights)
    rates = [1 if abs(vote) >= threshold else -1 for vote in votes(updates)]
    update = np.array([rate * value for rate, value in zip(rates, mean, strict=True)])
    followed = [
        sum(update[j] != 0 and np.sign(updates[i, j]) == np.sign(update[j]) for j in range(d)) / d
        for i in range(n)
    ]
    return update, shares * followed

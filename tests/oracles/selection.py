"""The papers' definitions of the rules that select, weigh or clip whole updates, written out with loops.

Updates are float64 NumPy arrays (n, d). An oracle returns the update (d,) and the trust (n,).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np


def mixed(updates, trust):
    n, d = updates.shape
    return np.array([sum(trust[i] * updates[i, j] for i in range(n)) for j in range(d)]), np.array(trust)


def mean_of(updates, rows):
    return mixed(updates, [(i in rows) / len(rows) for i in range(len(updates))])


def norm(vector):
    return float(sum(value**2 for value in vector)) ** 0.5


def lowest(scores, count):
    """Return the clients with the lowest scores; of equal ones the first."""
    return sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count]


def median_of(updates):
    n, d = updates.shape
    columns = [sorted(updates[:, j]) for j in range(d)]
    return np.array([(column[(n - 1) // 2] + column[n // 2]) / 2 for column in columns])


def covariance(rows, weights):
    total = sum(weights)
    mean = sum(c * row for c, row in zip(weights, rows, strict=True)) / total
    matrix = sum(c * np.outer(row - mean, row - mean) for c, row in zip(weights, rows, strict=True)) / total
    return mean, matrix


def principal(rows, weights):
    """Return the weighted mean, the top eigenvalue of the covariance, and the squared deviations along it."""
    mean, matrix = covariance(rows, weights)
    values, vectors = np.linalg.eigh(matrix)
    return mean, values[-1], [float((row - mean) @ vectors[:, -1]) ** 2 for row in rows]


def down_weighted(weights, deviations):
    top = max(t for c, t in zip(weights, deviations, strict=True) if c > 0)
    return [c * (1 - t / top) if c > 0 else 0.0 for c, t in zip(weights, deviations, strict=True)]


def mda(updates, f):
    n = len(updates)
    best, narrowest = None, np.inf
    for subset in combinations(range(n), n - f):
        width = max((norm(updates[i] - updates[j]) for i, j in combinations(subset, 2)), default=0.0)
        if width < narrowest:
            best, narrowest = subset, width
    return mean_of(updates, best)


def smea(updates, f):
    n = len(updates)
    best, smallest = None, np.inf
    for subset in combinations(range(n), n - f):
        _, matrix = covariance(updates[list(subset)], [1.0] * len(subset))
        value = np.linalg.eigvalsh(matrix)[-1]
        if value < smallest:
            best, smallest = subset, value
    return mean_of(updates, best)


def monna(updates, f, trusted=0):
    return mean_of(updates, lowest([norm(row - updates[trusted]) for row in updates], len(updates) - f))


def cge(updates, f):
    return mean_of(updates, lowest([norm(row) for row in updates], len(updates) - f))


def aksel(updates, f, keep="n-f"):
    n, middle = len(updates), median_of(updates)
    return mean_of(
        updates, lowest([norm(row - middle) for row in updates], n - f if keep == "n-f" else (n + 1) // 2)
    )


def caf(updates, f):
    n = len(updates)
    weights, best, smallest = [1.0] * n, [1.0] * n, np.inf
    while sum(weights) > max(0, n - 2 * f):
        if sum(c > 0 for c in weights) == 1:  # one client deviates from its mean by rounding only
            best = weights
            break
        _, value, deviations = principal(updates, weights)
        if value < smallest:
            best, smallest = weights, value
        if max(deviations) == 0:
            break
        weights = down_weighted(weights, deviations)
    return mixed(updates, [c / sum(best) for c in best])


def spectral_filter(updates, f, sigma, expansion=20.0, block=None):
    n, d = updates.shape
    update, trust = np.zeros(d), np.zeros(n)
    for start in range(0, d, block or d):
        columns = updates[:, start : start + (block or d)]
        weights = [1.0] * n
        for _ in range(2 * f):
            _, value, deviations = principal(columns, weights)
            if value**2 <= expansion * sigma**2:
                break
            fewer = down_weighted(weights, deviations)
            if sum(fewer) == 0:
                break
            weights = fewer
        shares = [c / sum(weights) for c in weights]
        update[start : start + columns.shape[1]] = mixed(columns, shares)[0]
        trust += np.array(shares) * columns.shape[1] / d
    return update, trust


def dnc(updates, f, draws, fraction=1.0):
    """`draws` are the coordinates of each test."""
    n = len(updates)
    good = set(range(n))
    for coordinates in draws:
        sample = updates[:, coordinates]
        centred = sample - sum(sample) / n
        direction = np.linalg.svd(centred)[2][0]
        good &= set(lowest([float(row @ direction) ** 2 for row in centred], n - int(fraction * f)))
    return mean_of(updates, good)


def gas(updates, f, pieces, base):
    """`pieces` are lists of coordinates, `base` an oracle."""
    scores = [0.0] * len(updates)
    for coordinates in pieces:
        centre = base(updates[:, coordinates])[0]
        for i, row in enumerate(updates):
            scores[i] += norm(row[coordinates] - centre)
    return mean_of(updates, lowest(scores, len(updates) - f))


def weiszfeld(updates, weights, nu, iterations, start):
    point, pulls = start, None
    for _ in range(iterations):
        pulls = [w / max(nu, norm(row - point)) for w, row in zip(weights, updates, strict=True)]
        pulls = [pull / sum(pulls) for pull in pulls]
        point = mixed(updates, pulls)[0]
    return point, np.array(pulls)


def centered_clipping(updates, tau, iterations, centre):
    n = len(updates)
    trust = np.zeros(n)
    for _ in range(iterations):
        factors = [min(1.0, tau / max(norm(row - centre), 1e-300)) / n for row in updates]
        trust = trust * (1 - sum(factors)) + factors
        moves = [factor * (row - centre) for factor, row in zip(factors, updates, strict=True)]
        centre = centre + sum(moves)
    return centre, trust


def norm_clipping(updates, clip, weights=None):
    weights = [1.0] * len(updates) if weights is None else weights
    left = [1.0 if norm(row) <= clip else clip / norm(row) for row in updates]
    return mixed(updates, [w * part / sum(weights) for w, part in zip(weights, left, strict=True)])


def crfl(updates, rho, model):
    """Without the noise."""
    n = len(updates)
    new = model + mixed(updates, [1 / n] * n)[0]
    left = min(1.0, rho / norm(new))
    return new * left - model, np.full(n, left / n)

"""What the papers of pre-aggregators and server optimizers define, with plain loops."""

from __future__ import annotations

import numpy as np


def distance(a, b):
    return np.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def norm(a):
    return distance(a, np.zeros(len(a)))


def mean(rows):
    total = np.zeros(len(rows[0]))
    for row in rows:
        total = total + row
    return total / len(rows)


def nnm(x, f):
    """Allouah et al. 2023, Algorithm 2: each vector becomes the average of its n - f nearest."""
    n = len(x)
    mixed = []
    for i in range(n):
        nearest = sorted(range(n), key=lambda j: (distance(x[i], x[j]), j))[: n - f]
        mixed.append(mean([x[j] for j in nearest]))
    return np.array(mixed)


def bucketing(x, size, order):
    """Karimireddy et al. 2022, Algorithm 1: the averages of s vectors at a time, in a random order."""
    starts = range(0, len(x), size)
    return np.array([mean([x[i] for i in order[start : start + size]]) for start in starts])


def clipped(x, bound):
    length = norm(x)
    return x if length <= bound else x * (bound / length)


def clipping(x, bound):
    """Sun et al. 2019: no update is longer than the bound."""
    return np.array([clipped(row, bound) for row in x])


def arc(x, f):
    """Allouah et al. 2025, Algorithm 2: clip the k largest to the norm of the (k+1)-th."""
    n = len(x)
    k = int(np.floor(2 * f * (n - f) / n + 1e-9))
    descending = sorted((norm(row) for row in x), reverse=True)
    return clipping(x, descending[k])


def trimmed_mean(x, f):
    out = []
    for column in np.asarray(x).T:
        kept = sorted(column)[f : len(column) - f]
        out.append(sum(kept) / len(kept))
    return np.array(out)


def fedavgm(updates, lr, momentum):
    """Hsu et al. 2019: v <- beta v + update; the model moves by lr v."""
    steps, v = [], np.zeros(len(updates[0]))
    for update in updates:
        v = momentum * v + update
        steps.append(lr * v)
    return steps


def adaptive(updates, kind, *, lr, beta1, beta2, tau, start=None):
    """Reddi et al. 2021, Algorithm 2, coordinate by coordinate."""
    d = len(updates[0])
    m = [0.0] * d
    v = [tau**2 if start is None else start] * d
    steps = []
    for update in updates:
        step = np.zeros(d)
        for j in range(d):
            delta = float(update[j])
            m[j] = beta1 * m[j] + (1 - beta1) * delta
            if kind == "adagrad":
                v[j] = v[j] + delta**2
            elif kind == "yogi":
                v[j] = v[j] - (1 - beta2) * delta**2 * np.sign(v[j] - delta**2)
            else:
                v[j] = beta2 * v[j] + (1 - beta2) * delta**2
            step[j] = lr * m[j] / (np.sqrt(v[j]) + tau)
        steps.append(step)
    return steps

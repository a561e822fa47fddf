"""What the papers' update attacks send, written out with plain loops.

Rows are float64 NumPy arrays: `honest` (h, d) and `own` (m, d). Everything is in terms of updates, which are
added to the model, unless a name says gradient.
"""

from __future__ import annotations

from math import erf, sqrt

import numpy as np


def mean(rows):
    return np.array([sum(row[j] for row in rows) / len(rows) for j in range(len(rows[0]))])


def std(rows, correction=0):
    middle = mean(rows)
    return np.array(
        [
            sqrt(sum((row[j] - middle[j]) ** 2 for row in rows) / (len(rows) - correction))
            for j in range(len(middle))
        ]
    )


def square(vector):
    return sum(value * value for value in vector)


def perturbation(rows, kind):
    if kind == "unit":
        return -mean(rows) / sqrt(square(mean(rows)))
    if kind == "sign":
        return -np.sign(mean(rows))
    return std(rows) if kind == "std-above" else -std(rows)


def alie_z(n, f):
    """The z with Phi(z) = (n - f - s) / (n - f), by bisection."""
    s = n // 2 + 1 - f
    low, high = -10.0, 10.0
    while high - low > 1e-12:
        z = (low + high) / 2
        below = 0.5 * (1 + erf(z / sqrt(2))) < (n - f - s) / (n - f)
        low, high = (z, high) if below else (low, z)
    return max(low, 0.0)


def scaled_update(own, factor):
    return np.array([[factor * value for value in row] for row in own])


def sign_flip(own):
    return np.array([[-value for value in row] for row in own])


def gaussian_update(own, noise, std, mode):
    base = own if mode == "add" else np.zeros_like(own)
    return np.array(
        [[b + std * z for b, z in zip(*rows, strict=True)] for rows in zip(base, noise, strict=True)]
    )


def alie(visible, m, z, direction=-1, correction=0):
    sent = []
    for column in visible.T:
        centre = sum(column) / len(column)
        spread = sum((value - centre) ** 2 for value in column) / (len(column) - correction)
        sent.append(centre + direction * z * sqrt(spread))
    return np.array([sent] * m)


def ipm(visible, m, epsilon):
    return np.array([[-epsilon * sum(column) / len(column) for column in visible.T]] * m)


def largest_gamma(accepted, high=1e4):
    """The largest gamma that is accepted, if all smaller ones are."""
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if accepted(middle) else (low, middle)
    return low


def min_max(honest, kind):
    direction = perturbation(honest, kind)
    widest = max(square(a - b) for a in honest for b in honest)

    def accepted(gamma):
        sent = mean(honest) + gamma * direction
        return max(square(sent - row) for row in honest) <= widest

    return mean(honest) + largest_gamma(accepted) * direction


def min_sum(honest, kind, bound):
    direction = perturbation(honest, kind)
    sums = [sum(square(a - b) for b in honest) for a in honest]
    allowed = max(sums) if bound == "max" else min(sums)

    def accepted(gamma):
        sent = mean(honest) + gamma * direction
        return sum(square(sent - row) for row in honest) <= allowed

    return mean(honest) + largest_gamma(accepted) * direction


def krum(rows, f):
    """The position that Krum picks; the first of equals."""
    n = len(rows)
    scores = []
    for i in range(n):
        distances = sorted(square(rows[i] - rows[j]) for j in range(n) if j != i)
        scores.append(sum(distances[: n - f - 2]))
    return scores.index(min(scores))


def median(rows):
    return np.median(rows, axis=0)


def trimmed_mean(rows, f):
    ordered = np.sort(rows, axis=0)
    return ordered[f : len(rows) - f].mean(axis=0)


def fang_krum(own, honest):
    """Full knowledge: c malicious of m clients, as many as the rule tolerates."""
    c, h, d = len(own), len(honest), len(own[0])
    n = c + h
    together = np.concatenate([own, honest])
    step = np.sign(together[krum(together, c)])
    inner = min(
        sum(sorted(square(honest[i] - honest[j]) for j in range(h) if j != i)[: n - c - 2]) for i in range(h)
    )
    factor = sqrt(inner / ((n - 2 * c - 1) * d)) + max(sqrt(square(row)) for row in honest) / sqrt(d)
    while factor > 1e-5:
        sent = -factor * step
        if krum(np.concatenate([np.array([sent] * c), honest]), c) < c:
            break
        factor /= 2
    return -factor * step


def fang_krum_partial(own):
    """The m own updates stand for the honest ones; copies are added until Krum picks one."""
    m, d = own.shape
    step = np.sign(mean(own))
    for copies in range(1, m + 1):
        inner = min(
            sum(sorted(square(own[i] - own[j]) for j in range(m) if j != i)[: m - 2]) for i in range(m)
        )
        factor = sqrt(inner / (max(m - copies - 1, 1) * d)) + max(sqrt(square(row)) for row in own) / sqrt(d)
        while factor > 1e-5:
            rows = np.concatenate([np.array([-factor * step] * copies), own])
            if krum(rows, copies) < copies:
                return -factor * step
            factor /= 2
    return -1e-5 * step


def fang_trimmed_mean_interval(own, honest, b):
    """The ends, lower first, between which each coordinate is drawn with full knowledge."""
    step = mean(np.concatenate([own, honest]))
    ends = []
    for j in range(len(step)):
        low, high = min(row[j] for row in honest), max(row[j] for row in honest)
        if step[j] > 0:
            ends.append((low / b, low) if low > 0 else (b * low, low))
        else:
            ends.append((high, b * high) if high > 0 else (high, high / b))
    return np.array(ends)


def fang_trimmed_mean_interval_partial(own):
    ends = []
    for middle, spread in zip(mean(own), std(own), strict=True):
        if middle > 0:
            ends.append((middle - 4 * spread, middle - 3 * spread))
        else:
            ends.append((middle + 3 * spread, middle + 4 * spread))
    return np.array(ends)


def mimic(rounds, start, warmup):
    """The position mimicked in each of the rounds of honest rows; `start` is the first z."""
    z, middle, target, targets = start / sqrt(square(start)), None, None, []
    for t, honest in enumerate(rounds):
        if t < warmup:
            now = mean(honest)
            middle = now if t == 0 else t / (t + 1) * middle + now / (t + 1)
            pulled = sum(((row - middle) @ z) * (row - middle) for row in honest)
            pulled = pulled / sqrt(square(pulled))
            z = pulled if t == 0 else t / (t + 1) * z + pulled / (t + 1)
            z = z / sqrt(square(z))
            products = [row @ z for row in honest]
            target = products.index(max(products))
        targets.append(target)
    return targets


def most_trusted(rounds, rate):
    """The position mimicked in each round of (honest rows, clients, trust in each row)."""
    scores, last, targets = {}, None, []
    for honest, client_ids, trust in rounds:
        for client_id, weight in zip(client_ids, trust, strict=True):
            scores[client_id] = (1 - rate) * scores.get(client_id, weight) + rate * weight
        best = max(scores[client_id] for client_id in client_ids)
        tied = [client_id for client_id in client_ids if abs(scores[client_id] - best) < 1e-12]
        if last not in tied:
            middle = mean(honest)
            last = max(tied, key=lambda client_id: square(honest[client_ids.index(client_id)] - middle))
        targets.append(client_ids.index(last))
    return targets


def scores_by_distance(rounds, rate):
    """The scores before each round, and after the last one, of honest rows of the same clients."""
    scores = [[1 / len(rounds[0])] * len(rounds[0])]
    for honest in rounds:
        middle = mean(honest)
        far = [sqrt(square(row - middle)) for row in honest]
        spread = sqrt(sum((each - sum(far) / len(far)) ** 2 for each in far) / (len(far) - 1))
        exps = [np.exp(each / (spread + 1e-8)) for each in far]
        weights = [each / sum(exps) for each in exps]
        scores.append([(1 - rate) * a + rate * b for a, b in zip(scores[-1], weights, strict=True)])
    return scores


def rop_gradient(gradients, momentum, *, z, angle, relocation, blend):
    """The paper's attack on gradients or momenta, given the last global one."""
    middle = mean(gradients)
    reference = blend * momentum + (1 - blend) * middle
    ones = np.ones(len(middle))
    aside = ones - (ones @ reference) / (reference @ reference) * reference
    turned = np.sin(np.radians(angle)) * aside / sqrt(square(aside))
    turned = turned + np.cos(np.radians(angle)) * reference / sqrt(square(reference))
    return relocation * momentum + (1 - relocation) * middle + z * turned / sqrt(square(turned))


def sparse_alie(honest, model, share, scale, z):
    middle, spread = mean(honest), std(honest)
    worth = sorted(range(len(model)), key=lambda j: -abs(model[j] * middle[j]))
    kept = set(worth[: round(share * len(model))])
    return np.array(
        [middle[j] - (scale if j in kept else z) * spread[j] for j in range(len(model))],
    )


def cge_kept(rows, f):
    """The positions of the n - f rows with the smallest norms."""
    return sorted(range(len(rows)), key=lambda i: square(rows[i]))[: len(rows) - f]


def anti_cge(honest, f, margin):
    ordered = sorted(honest, key=square)
    against = sum(ordered[: len(honest) - f])
    length = sqrt(square(ordered[len(honest) - f])) * (1 - margin)
    return -length * against / sqrt(square(against))


def poisoned_fl(models, signs, *, factor, shrink, floor, period, quantile):
    """What is sent in each round whose global models are `models`; `quantile` is that of the test."""
    d = len(signs)
    last, tested, tested_at, everything = np.zeros(d), models[0], 0, [np.zeros(d)]
    for t in range(1, len(models)):
        if t - tested_at >= period:
            along = sum(np.sign(models[t][j] - tested[j]) == signs[j] for j in range(d))
            if along < quantile and factor * shrink >= floor:
                factor *= shrink
            tested, tested_at = models[t], t
        step = models[t] - models[t - 1]
        norm = sqrt(square(step))
        expected = last * norm / sqrt(square(last)) if square(last) else last
        shape = np.array([abs(step[j] - expected[j]) for j in range(d)])
        last = factor * norm * shape * signs / sqrt(square(shape))
        everything.append(last)
    return everything

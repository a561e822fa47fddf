"""The papers' definitions of the rules that remember, with loops in NumPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import beta

from oracles.trust import best_cut, clipped, cosine, cosine_distances, gap_statistic


def foolsgold(histories):
    """Return the learning rates (n,)."""
    n = len(histories)
    cs = np.array([[cosine(a, b) for b in histories] for a in histories]) - np.eye(n)
    v = cs.max(axis=1) + 1e-5
    for i in range(n):
        for j in range(n):
            if i != j and v[i] < v[j]:
                cs[i, j] *= v[i] / v[j]
    alpha = np.clip(1 - cs.max(axis=1), 0, 1)
    alpha = alpha / alpha.max()
    alpha[alpha == 1] = 0.99
    with np.errstate(divide="ignore"):
        alpha = np.log(alpha / (1 - alpha)) + 0.5
    return np.clip(alpha, 0, 1)


def clipped_clustering(rows, norms_before):
    norms = [np.linalg.norm(row) for row in rows]
    bound = np.median([*norms_before, *norms])
    tree = linkage(squareform(cosine_distances(rows), checks=False), method="average")
    labels = fcluster(tree, 2, criterion="maxclust")
    kept = labels == np.bincount(labels).argmax()
    return clipped(rows, bound)[kept].mean(axis=0), kept, norms


def bfgs_product(steps, changes, vector):
    """Return the Hessian estimate, updated pair by pair from a multiple of the identity, times `vector`."""
    hessian = changes[-1] @ steps[-1] / (steps[-1] @ steps[-1]) * np.eye(len(vector))
    for s, y in zip(steps, changes, strict=True):
        hs = hessian @ s
        hessian = hessian - np.outer(hs, hs) / (s @ hs) + np.outer(y, y) / (y @ s)
    return hessian @ vector


class FLDetector:
    """Remembers by node, in dicts and lists."""

    def __init__(self, window):
        self.window = window
        self.steps, self.changes = [], []
        self.expected, self.scores = {}, {}
        self.model = self.aggregate = None

    def __call__(self, rows, client_ids, model, samples_of):
        step = None if self.model is None else model - self.model
        if self.steps:
            product = bfgs_product(self.steps, self.changes, step)
            for client_id in self.expected:
                self.expected[client_id] = self.expected[client_id] + product
            old = [client_id in self.expected for client_id in client_ids]
            off = {
                client_id: np.linalg.norm(self.expected[client_id] - row)
                for client_id, row, known in zip(client_ids, rows, old, strict=True)
                if known
            }
            for client_id, distance in off.items():
                self.scores.setdefault(client_id, []).append(distance / sum(off.values()))
        judged = [
            i for i, client_id in enumerate(client_ids) if len(self.scores.get(client_id, [])) >= self.window
        ]
        means = np.array([np.mean(self.scores[client_ids[i]][-self.window :]) for i in judged])
        kept = np.ones(len(rows), dtype=bool)
        if len(means) >= 3 and gap_statistic(means, samples_of(len(means)), 7) > 1:
            kept[np.delete(judged, best_cut(means))] = False
        update = rows[kept].mean(axis=0)
        if step is not None and step.any():
            self.steps = [*self.steps, step][-self.window :]
            self.changes = [*self.changes, update - self.aggregate][-self.window :]
        self.expected |= dict(zip(client_ids, rows, strict=True))
        self.model, self.aggregate = model, update
        return update, kept


def forecast(series, iterations, ridge):
    """Return A X B for the last X of `series` (l, p, n), A and B from alternating least squares."""
    _, p, n = series.shape
    a, b = np.eye(p), np.eye(n)
    if len(series) > 1:
        for _ in range(iterations):
            top, bottom = np.zeros((p, p)), ridge * np.eye(p)
            for old, new in pairwise(series):
                top += new @ (old @ b).T
                bottom += old @ b @ (old @ b).T
            a = top @ np.linalg.inv(bottom)
            top, bottom = np.zeros((n, n)), ridge * np.eye(n)
            for old, new in pairwise(series):
                top += (a @ old).T @ new
                bottom += (a @ old).T @ (a @ old)
            b = np.linalg.inv(bottom) @ top
    return a @ series[-1] @ b


class Flanders:
    """Remembers by round and node."""

    def __init__(self, byzantine, window, columns, iterations, ridge):
        self.byzantine, self.window, self.columns = byzantine, window, columns
        self.iterations, self.ridge = iterations, ridge
        self.rounds = []

    def __call__(self, rows, client_ids, model):
        models = model + rows
        kept = np.arange(len(rows))
        if self.rounds:
            past = [
                [sent.get(client_id, start) for client_id in client_ids]
                for start, sent in self.rounds[-self.window :]
            ]
            series = np.array([*past, models[:, self.columns]]).transpose(0, 2, 1)
            series = series / abs(series).max()
            ahead = forecast(series[:-1], self.iterations, self.ridge)
            scores = [((series[-1][:, i] - ahead[:, i]) ** 2).sum() for i in range(len(rows))]
            kept = np.argsort(scores)[: len(rows) - self.byzantine]
        update = rows[kept].mean(axis=0)
        sent = {
            client_id: (models[i] if i in kept else model + update)[self.columns]
            for i, client_id in enumerate(client_ids)
        }
        self.rounds.append((model[self.columns], sent))
        return update, sorted(kept)


class AFA:
    """Remembers how often each node was good and bad."""

    def __init__(self):
        self.good, self.bad = {}, {}

    def __call__(self, rows, client_ids, examples):
        alpha = np.array([self.good.get(client_id, 3) for client_id in client_ids])
        bad = np.array([self.bad.get(client_id, 3) for client_id in client_ids])
        allowed = [i for i in range(len(rows)) if beta.cdf(0.5, alpha[i], bad[i]) <= 0.95]
        merit = alpha / (alpha + bad) * examples
        kept, slack = list(allowed), 2.0
        while True:
            average = sum(merit[i] * rows[i] for i in kept) / sum(merit[i] for i in kept)
            similar = {i: cosine(average, rows[i]) for i in kept}
            values = np.array(list(similar.values()))
            mean, median, deviation = values.mean(), np.median(values), values.std()
            if mean < median:
                odd = [i for i in kept if similar[i] < median - slack * deviation]
            else:
                odd = [i for i in kept if similar[i] > median + slack * deviation]
            if not odd:
                break
            kept = [i for i in kept if i not in odd]
            slack += 0.5
        for i in allowed:
            counts, start = (self.good, alpha) if i in kept else (self.bad, bad)
            counts[client_ids[i]] = start[i] + 1
        trust = np.zeros(len(rows))
        trust[kept] = merit[kept] / merit[kept].sum()
        return average, trust

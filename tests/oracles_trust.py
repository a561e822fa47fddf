"""The papers' definitions of the rules that trust, cluster and remember, with loops in NumPy."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import beta
from sklearn.cluster import HDBSCAN, MeanShift, estimate_bandwidth


def cosine(a, b):
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / norms if norms else 0.0


def cosine_distances(rows):
    n = len(rows)
    return np.array([[0 if i == j else 1 - cosine(rows[i], rows[j]) for j in range(n)] for i in range(n)])


def clipped(rows, bound):
    return np.array([row * min(1, bound / np.linalg.norm(row)) for row in rows])


def median_norm(rows):
    return np.median([np.linalg.norm(row) for row in rows])


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


def fltrust(rows, root):
    scores = [max(0, cosine(row, root)) for row in rows]
    total = sum(
        score * row * np.linalg.norm(root) / np.linalg.norm(row)
        for score, row in zip(scores, rows, strict=True)
    )
    return total / sum(scores), np.array(scores) / sum(scores)


def flame(rows, angles_of, noise, scale):
    """Return the aggregate, and who is admitted; `noise` (d,) is standard normal."""
    n = len(rows)
    clustering = HDBSCAN(
        min_cluster_size=n // 2 + 1,
        min_samples=1,
        metric="precomputed",
        allow_single_cluster=True,
        copy=True,
    )
    admitted = clustering.fit_predict(cosine_distances(angles_of)) == 0
    bound = median_norm(rows)
    return clipped(rows, bound)[admitted].mean(axis=0) + scale * bound * noise, admitted


def signguard(rows, sampled):
    norms = np.array([np.linalg.norm(row) for row in rows])
    ordinary = (norms >= 0.1 * np.median(norms)) & (norms <= 3 * np.median(norms))
    signs = [
        [(row[sampled] > 0).mean(), (row[sampled] == 0).mean(), (row[sampled] < 0).mean()] for row in rows
    ]
    features = np.array(signs)
    labels = MeanShift(bandwidth=estimate_bandwidth(features, quantile=0.5), cluster_all=False).fit_predict(
        features
    )
    kept = ordinary & (labels == np.bincount(labels[labels >= 0]).argmax())
    return clipped(rows, np.median(norms))[kept].mean(axis=0), kept


def clipped_clustering(rows, norms_before):
    norms = [np.linalg.norm(row) for row in rows]
    bound = np.median([*norms_before, *norms])
    tree = linkage(squareform(cosine_distances(rows), checks=False), method="average")
    labels = fcluster(tree, 2, criterion="maxclust")
    kept = labels == np.bincount(labels).argmax()
    return clipped(rows, bound)[kept].mean(axis=0), kept, norms


def best_cut(values):
    """Return the lower cluster of the best 2-means clustering of numbers, as a set of positions."""
    order = np.argsort(values)
    costs = []
    for cut in range(1, len(values)):
        low, high = values[order[:cut]], values[order[cut:]]
        costs.append(((low - low.mean()) ** 2).sum() + ((high - high.mean()) ** 2).sum())
    return order[: int(np.argmin(costs)) + 1]


def auror(rows, threshold, tolerance):
    n, d = rows.shape
    counts, indicative = np.zeros(n), 0
    for j in range(d):
        low = best_cut(rows[:, j])
        high = np.setdiff1d(np.arange(n), low)
        if rows[high, j].mean() - rows[low, j].mean() > threshold:
            indicative += 1
            if len(low) != len(high):
                counts[low if len(low) < len(high) else high] += 1
    kept = counts <= tolerance * indicative
    return rows[kept].mean(axis=0), kept


def lasa(rows, layers, sparsity, norm_bound, sign_bound):
    n, d = rows.shape
    rows = clipped(rows, median_norm(rows))
    sparse = rows.copy()
    for row in sparse:
        for j in np.argsort(abs(row))[: int(sparsity * d)]:
            row[j] = 0
    update, trust = np.zeros(d), np.zeros(n)
    for start, end in layers:
        part = sparse[:, start:end]
        norms = np.array([np.linalg.norm(row) for row in part])
        purity = np.array([0.5 * (1 + np.sign(row).sum() / abs(np.sign(row)).sum()) for row in part])
        kept = [
            i
            for i in range(n)
            if abs(norms[i] - np.median(norms)) / norms.std() < norm_bound
            and abs(purity[i] - np.median(purity)) / purity.std() < sign_bound
        ] or list(range(n))
        update[start:end] = part[kept].mean(axis=0)
        trust[kept] += (end - start) / d / len(kept)
    return update, trust


def bfgs_product(steps, changes, vector):
    """Return the Hessian estimate, updated pair by pair from a multiple of the identity, times `vector`."""
    hessian = changes[-1] @ steps[-1] / (steps[-1] @ steps[-1]) * np.eye(len(vector))
    for s, y in zip(steps, changes, strict=True):
        hs = hessian @ s
        hessian = hessian - np.outer(hs, hs) / (s @ hs) + np.outer(y, y) / (y @ s)
    return hessian @ vector


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


class FLDetector:
    """Remembers by node, in dicts and lists."""

    def __init__(self, window):
        self.window = window
        self.steps, self.changes = [], []
        self.expected, self.scores = {}, {}
        self.model = self.aggregate = None

    def __call__(self, rows, nodes, model, samples_of):
        step = None if self.model is None else model - self.model
        if self.steps:
            product = bfgs_product(self.steps, self.changes, step)
            for node in self.expected:
                self.expected[node] = self.expected[node] + product
            old = [node in self.expected for node in nodes]
            off = {
                node: np.linalg.norm(self.expected[node] - row)
                for node, row, known in zip(nodes, rows, old, strict=True)
                if known
            }
            for node, distance in off.items():
                self.scores.setdefault(node, []).append(distance / sum(off.values()))
        judged = [i for i, node in enumerate(nodes) if len(self.scores.get(node, [])) >= self.window]
        means = np.array([np.mean(self.scores[nodes[i]][-self.window :]) for i in judged])
        kept = np.ones(len(rows), dtype=bool)
        if len(means) >= 3 and gap_statistic(means, samples_of(len(means)), 7) > 1:
            kept[np.delete(judged, best_cut(means))] = False
        update = rows[kept].mean(axis=0)
        if step is not None and step.any():
            self.steps = [*self.steps, step][-self.window :]
            self.changes = [*self.changes, update - self.aggregate][-self.window :]
        self.expected |= dict(zip(nodes, rows, strict=True))
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

    def __call__(self, rows, nodes, model):
        models = model + rows
        kept = np.arange(len(rows))
        if self.rounds:
            past = [[sent.get(node, start) for node in nodes] for start, sent in self.rounds[-self.window :]]
            series = np.array([*past, models[:, self.columns]]).transpose(0, 2, 1)
            series = series / abs(series).max()
            ahead = forecast(series[:-1], self.iterations, self.ridge)
            scores = [((series[-1][:, i] - ahead[:, i]) ** 2).sum() for i in range(len(rows))]
            kept = np.argsort(scores)[: len(rows) - self.byzantine]
        update = rows[kept].mean(axis=0)
        sent = {
            node: (models[i] if i in kept else model + update)[self.columns] for i, node in enumerate(nodes)
        }
        self.rounds.append((model[self.columns], sent))
        return update, sorted(kept)


class AFA:
    """Remembers how often each node was good and bad."""

    def __init__(self):
        self.good, self.bad = {}, {}

    def __call__(self, rows, nodes, examples):
        alpha = np.array([self.good.get(node, 3) for node in nodes])
        bad = np.array([self.bad.get(node, 3) for node in nodes])
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
            counts[nodes[i]] = start[i] + 1
        trust = np.zeros(len(rows))
        trust[kept] = merit[kept] / merit[kept].sum()
        return average, trust


def slsgd(rows, byzantine, alpha):
    n, d = rows.shape
    return np.array([alpha * np.sort(rows[:, j])[byzantine : n - byzantine].mean() for j in range(d)])


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def deepsight(rows, model, classes, noises, share):
    """Inspect updates of a linear classifier whose weights (k, h) are followed by its biases (k,)."""
    n, d = rows.shape
    h = d // classes - 1
    neups, exceedings = [], []
    for row in rows:
        weights, biases = row[: classes * h].reshape(classes, h), row[classes * h :]
        energy = np.array([abs(biases[c]) + sum(abs(weights[c])) for c in range(classes)])
        neup = energy**2 / (energy**2).sum()
        neups.append(neup)
        exceedings.append(sum(neup > max(0.01, 1 / classes) * neup.max()))

    def predictions(weights, noise):
        return softmax(noise @ weights[: classes * h].reshape(classes, h).T + weights[classes * h :])

    ddifs = [
        np.array(
            [(predictions(model + row, x) / (predictions(model, x) + 1e-6)).mean(axis=0) for row in rows]
        )
        for x in noises
    ]

    def apart(features, metric="euclidean"):
        labels = HDBSCAN(min_samples=3, metric=metric, copy=True).fit_predict(features)
        return np.array([[float(a != b) for b in labels] for a in labels])

    votes = [
        apart(cosine_distances(rows[:, classes * h :]), "precomputed"),
        apart(np.array(neups)),
        np.mean([apart(ddif) for ddif in ddifs], axis=0),
    ]
    last = HDBSCAN(min_samples=3, metric="precomputed", allow_single_cluster=True, copy=True)
    labels = last.fit_predict(np.mean(votes, axis=0))
    suspicious = np.array(exceedings) <= np.median(exceedings) / 2
    groups = [np.flatnonzero(labels == label) for label in set(labels) - {-1}]
    groups += [np.array([i]) for i in np.flatnonzero(labels == -1)]
    kept = np.zeros(n, dtype=bool)
    for group in groups:
        kept[group] = suspicious[group].mean() < share
    return clipped(rows, median_norm(rows))[kept].mean(axis=0), kept

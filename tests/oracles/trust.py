"""The papers' definitions of the rules that trust and cluster, with loops in NumPy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.cluster import MeanShift, estimate_bandwidth
from sklearn.metrics.pairwise import rbf_kernel


def hdbscan_labels(features, **options):
    """Return the clusters (n,) of the library that the authors use. It does not count a row itself.

    Many distances are equal after they are raised to the rows' densities. For Euclidean data, the library's
    default, Boruvka's algorithm, then chooses other edges than its other algorithms, and about one clustering
    of ten differs. scikit-learn has no such algorithm, so the oracle takes the generic one.
    """
    library = pytest.importorskip("hdbscan")
    clustering = library.HDBSCAN(algorithm="generic", core_dist_n_jobs=1, **options)
    return clustering.fit_predict(np.asarray(features, dtype=float))


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
    labels = hdbscan_labels(
        cosine_distances(angles_of),
        min_cluster_size=n // 2 + 1,
        min_samples=1,
        metric="precomputed",
        allow_single_cluster=True,
    )
    admitted = labels == 0
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
        labels = hdbscan_labels(features, min_samples=3, metric=metric)
        return np.array([[float(a != b) for b in labels] for a in labels])

    votes = [
        apart(cosine_distances(rows[:, classes * h :]), "precomputed"),
        apart(np.array(neups)),
        np.mean([apart(ddif) for ddif in ddifs], axis=0),
    ]
    mean = np.mean(votes, axis=0)
    labels = hdbscan_labels(mean, min_samples=3, metric="precomputed", allow_single_cluster=True)
    suspicious = np.array(exceedings) <= np.median(exceedings) / 2
    groups = [np.flatnonzero(labels == label) for label in set(labels) - {-1}]
    groups += [np.array([i]) for i in np.flatnonzero(labels == -1)]
    kept = np.zeros(n, dtype=bool)
    for group in groups:
        kept[group] = suspicious[group].mean() < share
    return clipped(rows, median_norm(rows))[kept].mean(axis=0), kept


def mmd(first, second):
    """Return the unbiased estimate of the squared discrepancy with the default kernel, at least 0."""
    m = len(first)
    kernel = rbf_kernel(np.concatenate([first, second]))
    own, other, both = kernel[:m, :m], kernel[m:, m:], kernel[:m, m:]
    within = sum((block.sum() - np.trace(block)) / (m * (m - 1)) for block in (own, other))
    return max(0, within - 2 * both.mean())


def flare(features, temperature):
    """Return the trust (n,) of clients with these inputs of their output layers, (n, m, w)."""
    n = len(features)
    counts = np.zeros(n)
    for i in range(n):
        distances = [0 if i == j else mmd(features[i], features[j]) for j in range(n)]
        last = sorted(distances)[max(0, n // 2 - 1)]
        for j in range(n):
            counts[j] += j != i and distances[j] <= last + 1e-9  # many estimates are 0
    scores = np.exp(counts / (temperature * counts.mean()))
    return scores / scores.sum()

"""The papers' definitions of the rules that filter clients or signs, with loops in NumPy."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import cosine_similarity

from oracles.trust import cosine, cosine_distances, hdbscan_labels


def z_scores(values):
    return np.abs(values - np.median(values)) / np.std(values)


def alignins(rows, model, largest, sign_bound, direction_bound):
    majority = np.sign(np.sum(np.sign(rows), axis=0))
    signs, directions = [], []
    for row in rows:
        top = np.argsort(-np.abs(row))[: int(largest * len(row))]
        signs.append(np.mean(np.sign(row[top]) == majority[top]))
        directions.append(cosine(row, model))
    kept = (z_scores(np.array(signs)) < sign_bound) & (z_scores(np.array(directions)) < direction_bound)
    norms = np.linalg.norm(rows, axis=1)
    bound = np.median(norms[kept])
    return np.mean([rows[i] * min(1, bound / norms[i]) for i in np.flatnonzero(kept)], axis=0), kept


def multi_metrics(rows, model, share, compare):
    n = len(rows)
    models = rows + model
    features = np.zeros((n, 3))
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            if compare == "pairs":
                features[i] += [
                    (1 - cosine(models[i], models[j])) ** 2,
                    np.abs(models[i] - models[j]).sum(),
                    abs(np.linalg.norm(models[i]) - np.linalg.norm(models[j])),
                ]
            else:
                features[i] += [
                    abs(cosine(models[i], model) - cosine(models[j], model)),
                    abs(np.abs(rows[i]).sum() - np.abs(rows[j]).sum()),
                    abs(np.linalg.norm(rows[i]) - np.linalg.norm(rows[j])),
                ]
    inverse = np.linalg.inv(np.cov(features.T))
    scores = [x @ inverse @ x for x in features]
    kept = np.argsort(scores)[: max(1, int(share * n))]
    return rows[kept].mean(axis=0), np.isin(np.arange(n), kept)


def fedseca(rows, sparsity):
    n, d = rows.shape
    votes = [
        max(0, np.mean([np.sign(np.mean(np.sign(rows[k]) * np.sign(rows[j]))) for j in range(n)]))
        for k in range(n)
    ]
    norms = np.linalg.norm(rows, axis=1)
    values = np.array([row * min(1, np.median(norms) / norm) for row, norm in zip(rows, norms, strict=True)])
    medians = np.median(np.abs(values), axis=0)
    values = np.sign(values) * np.minimum(np.abs(values), medians)
    for row, value in zip(rows, values, strict=True):
        value[np.argsort(np.abs(row))[: int(sparsity * d)]] = 0
    update, used = np.zeros(d), np.zeros(n)
    for j in range(d):
        elected = np.sign(sum(vote * np.sign(row[j]) for vote, row in zip(votes, rows, strict=True)))
        agree = [k for k in range(n) if elected * values[k, j] > 0]
        if agree:
            update[j] = np.mean(values[agree, j])
            used[agree] += 1
    return update, used / used.sum()


def lloyd(points, first, second):
    """Return the labels of 2-means from these two points."""
    centres, labels = points[[first, second]], None
    while True:
        distances = [[np.sum((point - centre) ** 2) for centre in centres] for point in points]
        following = np.argmin(distances, axis=1)
        if labels is not None and (following == labels).all():
            return labels
        labels = following
        centres = np.array([points[labels == k].mean(axis=0) for k in (0, 1)])


def lfighter(rows, classes, width):
    """Return the aggregate and the clients kept; the rows end with the matrix and the bias of the output."""
    n = len(rows)
    weights = rows[:, -classes * (width + 1) : -classes].reshape(n, classes, width)
    biases = rows[:, -classes:]
    moved = np.linalg.norm(weights, axis=-1).sum(axis=0) + np.abs(biases).sum(axis=0)
    points = weights[:, moved.argsort()[-2:]].reshape(n, -1)
    pairs = [(np.linalg.norm(points[i] - points[j]), i, j) for i in range(n) for j in range(n)]
    _, first, second = max(pairs)
    labels = lloyd(points, first, second)
    scores = []
    for label in (0, 1):
        cluster = points[labels == label]
        angles = cosine_similarity(cluster) - np.eye(len(cluster))
        scores.append(len(cluster) / n * (1 - np.mean(np.min(angles, axis=1))))
    kept = labels == int(np.argmax(scores))
    return rows[kept].mean(axis=0), kept


def freqfed(rows, share):
    n, d = rows.shape
    count = int(share * d)
    low = np.array(
        [
            [
                np.sqrt((1 if k == 0 else 2) / d)
                * sum(row[i] * np.cos(np.pi * (2 * i + 1) * k / (2 * d)) for i in range(d))
                for k in range(count)
            ]
            for row in rows
        ]
    )
    options = {"min_samples": 1, "metric": "precomputed", "allow_single_cluster": True}
    labels = hdbscan_labels(cosine_distances(low), min_cluster_size=n // 2 + 1, **options)
    kept = labels == 0
    return rows[kept].mean(axis=0), kept


def geometric_median(rows, steps=20_000):
    point = rows.mean(axis=0)
    for _ in range(steps):
        pulls = 1 / np.maximum(np.linalg.norm(rows - point, axis=1), 1e-12)
        point = pulls @ rows / pulls.sum()
    return point


def three_sigma(rows, bound):
    distances = np.linalg.norm(rows - geometric_median(rows), axis=1)
    kept = distances <= distances.mean() + bound * distances.std(ddof=1)
    return rows[kept].mean(axis=0), kept


def rflbat(rows, first, second, samples, seed):
    """Return the aggregate and the clients kept, as BackFed computes them."""
    centred = rows - rows.mean(axis=0)
    plane = rows @ np.linalg.svd(centred, full_matrices=False)[2][:2].T

    def near(indices, bound):
        sums = [sum(np.linalg.norm(plane[i] - plane[j]) for j in indices) for i in indices]
        return [i for i, total in zip(indices, sums, strict=True) if total < bound * np.median(sums)]

    def means(points, count):
        return KMeans(n_clusters=count, n_init=1, random_state=seed).fit(points)

    def spread(points, count):
        fit = means(points, count)
        return np.linalg.norm(points - fit.cluster_centers_[fit.labels_], axis=1).sum()

    kept = near(range(len(rows)), first)
    points = plane[kept] / np.ptp(plane[kept], axis=0).max()
    scaled = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    gaps, errors = [], []
    for count in range(1, 10):
        logs = np.log([spread(sample[: len(kept)], count) + 1e-10 for sample in samples])
        gaps.append(logs.mean() - np.log(spread(scaled, count) + 1e-10))
        errors.append(logs.std() * np.sqrt(1 + 1 / len(samples)))
    count = next((k for k in range(1, 9) if gaps[k - 1] >= gaps[k] - errors[k]), 9)
    labels = means(points, count).labels_
    scores = {}
    for label in range(count):
        members = [i for i, own in zip(kept, labels, strict=True) if own == label]
        if len(members) > 1:
            scores[label] = np.median(cosine_similarity(rows[members]).mean(axis=1))
    best = min(scores, key=scores.get)
    kept = near([i for i, own in zip(kept, labels, strict=True) if own == best], second)
    return rows[kept].mean(axis=0), np.isin(np.arange(len(rows)), kept)


def siegel(values):
    """Return the slope and the intercept of the repeated median line through (i, values[i])."""
    n = len(values)
    slopes = [np.median([(values[j] - values[i]) / (j - i) for j in range(n) if j != i]) for i in range(n)]
    slope = np.median(slopes)
    return slope, np.median(values) - slope * (n - 1) / 2


def residual_reweighting(rows, confidence, threshold, power):
    n, d = rows.shape
    corrected, sums = rows.copy(), np.zeros(n)
    for k in range(d):
        y = rows[:, k]
        ranks = y.argsort().argsort()
        design = np.column_stack([np.ones(n), ranks])
        hat = design @ np.linalg.inv(design.T @ design) @ design.T
        slope, intercept = siegel(np.sort(y))
        line = intercept + slope * ranks
        residuals = y - line
        tau = 1.4826 * (1 + 5 / (n - 1)) * np.median(np.sort(np.abs(residuals))[1:]) + 1e-7 * np.ptp(y)
        bound = confidence * np.sqrt(2 / n)
        confidences = np.ones(n)
        for i in range(n):
            e, p = residuals[i] / tau, np.sqrt(1 - hat[i, i])
            if e != 0:
                confidences[i] = p / e * max(-bound, min(bound, e / p))
            if confidences[i] < threshold:
                corrected[i, k] = line[i]
        sums += confidences * np.std(confidences, ddof=1)
    weights = (sums / sums.max()) ** power
    weights /= weights.sum()
    return weights @ corrected, weights


def foundation(rows, copies):
    highest, lowest = rows.max(axis=0), rows.min(axis=0)
    scores = [min(np.linalg.norm(row - highest), np.linalg.norm(row - lowest)) for row in rows]
    return np.concatenate([rows, np.repeat(rows[[int(np.argmax(scores))]], copies, axis=0)])

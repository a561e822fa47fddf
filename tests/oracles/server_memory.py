"""The papers' definitions of rules whose server sums up updates over rounds, with loops in NumPy."""

from __future__ import annotations

import math

import numpy as np


def majority(vectors, needed):
    """Return the client whose `needed` nearest are nearest, and the distance of the farthest of them."""
    radii = {
        i: sorted(np.linalg.norm(own - other) for other in vectors.values())[needed - 1]
        for i, own in vectors.items()
    }
    sums = {i: sum(np.linalg.norm(own - other) for other in vectors.values()) for i, own in vectors.items()}
    centre = min(radii, key=lambda i: (round(radii[i], 9), sums[i]))  # two clients are often as near
    return centre, radii[centre]


class Safeguard:
    """Remembers by client, in dicts and lists."""

    def __init__(self, windows, bound, thresholds, *, same, reset):
        self.windows, self.bound, self.thresholds = windows, bound, thresholds
        self.same, self.reset = same, reset
        self.history, self.bad = [], set()

    def __call__(self, rows, client_ids):
        t = len(self.history)
        if self.reset and t % self.windows[1] == 0:
            self.bad = set()
        good = [client for client in client_ids if client not in self.bad]
        sent = dict(zip(client_ids, rows, strict=True))
        self.history.append((sent, max(1, len(good))))
        kept = list(good)
        for window, threshold in zip(self.windows, self.thresholds, strict=True):
            last = t - t % window
            sums = {
                client: sum(sent[client] / count for sent, count in self.history[last:] if client in sent)
                for client in good
            }
            if not sums:
                continue
            centre, radius = majority(sums, min(len(client_ids) // 2 + 1, len(good)))
            limit = self.bound * (radius if threshold is None else threshold)
            kept = [client for client in kept if np.linalg.norm(sums[client] - sums[centre]) <= limit]
        self.bad |= {client for client in good if client not in kept}
        used = kept if self.same else good
        mean = np.mean([sent[client] for client in used], axis=0) if used else 0 * rows[0]
        return mean, np.array([client in used for client in client_ids])


class ByzantineSGD:
    """Remembers by client, in dicts and lists."""

    def __init__(self, failure=0.05, deviation=None, diameter=None, average="all"):
        self.failure, self.deviation, self.diameter = failure, deviation, diameter
        self.average = average
        self.products, self.sums, self.bad = {}, {}, set()
        self.start, self.steps = None, []

    def __call__(self, rows, client_ids, model):
        m = len(client_ids)
        self.start = model if self.start is None else self.start
        sent = dict(zip(client_ids, rows, strict=True))
        for client, row in sent.items():
            self.products[client] = self.products.get(client, 0) + row @ (model - self.start)
            self.sums[client] = self.sums.get(client, 0) + row
        centre, radius = majority(sent, m // 2 + 1)
        v = radius / 2 if self.deviation is None else self.deviation
        way = np.linalg.norm(model - self.start) if self.diameter is None else self.diameter
        self.steps.append((v, way))
        log = math.sqrt(math.log(16 * m * len(self.steps) / self.failure))
        middle = np.median([self.products[client] for client in client_ids])
        middle_sum, _ = majority({client: self.sums[client] for client in client_ids}, m // 2 + 1)
        good = []
        for client in client_ids:
            a = abs(self.products[client] - middle)
            b = np.linalg.norm(self.sums[client] - self.sums[middle_sum])
            g = np.linalg.norm(sent[client] - sent[centre])
            limit_a = 4 * log * math.sqrt(sum((v * way) ** 2 for v, way in self.steps))
            limit_b = 4 * log * math.sqrt(sum(v**2 for v, _ in self.steps))
            if client not in self.bad and a <= limit_a and b <= limit_b and g <= 4 * v:
                good.append(client)
        self.bad |= set(client_ids) - set(good)
        total = sum((sent[client] for client in good), 0 * rows[0])
        mean = total / (m if self.average == "all" else len(good))
        return mean, np.array([client in good for client in client_ids])


class SparseFed:
    def __init__(self, kept, clip, momentum, d):
        self.count, self.clip, self.momentum = max(1, int(kept * d)), clip, momentum
        self.velocity, self.error = np.zeros(d), np.zeros(d)

    def __call__(self, rows):
        clipped = [row * min(1, self.clip / np.linalg.norm(row)) for row in rows]
        self.velocity = self.momentum * self.velocity + np.mean(clipped, axis=0)
        self.error = self.error + self.velocity
        update = np.zeros_like(self.error)
        for j in np.argsort(-np.abs(self.error))[: self.count]:
            update[j] = self.error[j]
            self.error[j] = self.velocity[j] = 0
        return update


def sequential_clipping(rows, centre, passes, *, tau, clip, reference, extended, iterations):
    """Return the new centre; `passes` has the buckets of the first and the second pass."""

    def clipped(vector):
        return vector * min(1, tau / np.linalg.norm(vector)) if vector.any() else vector

    def towards(point, v):
        if reference == "both":
            point = centre + clipped(point - centre)
        return clipped(point - v)

    def move(bucket, v):
        points = [rows[i] for i in bucket] if clip == "each" else [np.mean(rows[bucket], axis=0)]
        return np.mean([towards(point, v) for point in points], axis=0)

    v = centre
    for bucket in passes[0]:
        v = v + move(bucket, v)
    if extended == "moving":
        for bucket in passes[1]:
            v = v + move(bucket, v)
    if extended == "fixed":
        for _ in range(iterations):
            v = v + np.mean([move(bucket, v) for bucket in passes[1]], axis=0)
    return v

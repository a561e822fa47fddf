"""The papers' definitions of the rules that train models on the server, with loops in NumPy."""

from __future__ import annotations

import numpy as np


class LinearClassifier:
    """Linear classifier with weights (k, p) and biases (k,), flat as one vector."""

    def __init__(self, weights, classes):
        pixels = len(weights) // classes - 1
        self.matrix = weights[: classes * pixels].reshape(classes, pixels).copy()
        self.bias = weights[classes * pixels :].copy()

    def loss_and_gradient(self, images, labels):
        """Return the mean cross-entropy, and its gradient as one vector."""
        loss, matrix, bias = 0.0, np.zeros_like(self.matrix), np.zeros_like(self.bias)
        for image, label in zip(images.reshape(len(images), -1), labels, strict=True):
            logits = self.matrix @ image + self.bias
            probabilities = np.exp(logits - logits.max())
            probabilities /= probabilities.sum()
            loss -= np.log(probabilities[label])
            wrong = probabilities - np.eye(len(self.bias))[label]
            matrix += np.outer(wrong, image)
            bias += wrong
        gradient = np.concatenate([matrix.flatten(), bias])
        return loss / len(labels), gradient / len(labels)

    def flat(self):
        return np.concatenate([self.matrix.flatten(), self.bias])


def masa(rows, shares, model, samples, orders, *, classes, fusion, size, lr, momentum, clip, bound):
    """Return the aggregate and the mask (n,) of the accepted clients.

    After the authors' code, for a linear classifier. `orders` are the permutations of the samples per epoch.
    """
    images, labels = samples
    mean = sum(share * row for share, row in zip(shares, rows, strict=True))
    sums = []
    for row in rows:
        weights = model + fusion * row + (1 - fusion) * mean
        velocity, total = np.zeros_like(weights), 0.0
        for order in orders:
            losses = []
            for first in range(0, len(order), size):
                batch = order[first : first + size]
                classifier = LinearClassifier(weights, classes)
                loss, gradient = classifier.loss_and_gradient(images[batch], labels[batch])
                losses.append(loss)
                gradient *= min(1, clip / np.linalg.norm(gradient))
                velocity = momentum * velocity - gradient  # the code descends the negative loss
                weights = weights - lr * velocity
            total += np.mean(losses)
        sums.append(total)
    scores = (np.array(sums) - np.median(sums)) / np.std(sums)
    kept = scores < bound
    total = shares[kept].sum()
    return sum(share * row for share, row in zip(shares[kept], rows[kept], strict=True)) / total, kept

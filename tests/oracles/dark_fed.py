"""DarkFed as its authors' code defines it: plain loops over NumPy arrays."""

from __future__ import annotations

import numpy as np


def trained(model, samples, others, *, steps, lr, magnitude, direction):
    """Steps of SGD of a linear model on the squared errors, the length of the update and its cosines.

    The samples are images, their targets, and marks of those with the trigger.
    """
    (weight, bias), (images, targets, stamped) = model, samples
    start = np.concatenate([weight.ravel(), bias])
    for _ in range(steps):
        by_weight, by_bias = np.zeros_like(weight), np.zeros_like(bias)
        for kind in (True, False):
            chosen = [place for place, mark in enumerate(stamped) if bool(mark) is kind]
            for place in chosen:
                error = weight @ images[place] + bias - targets[place]
                share = 2 * error / (len(chosen) * len(bias))
                by_weight += np.outer(share, images[place])
                by_bias += share
        update = np.concatenate([weight.ravel(), bias]) - start
        slope = np.concatenate([by_weight.ravel(), by_bias])
        length = np.linalg.norm(update)
        if length > 0:
            slope = slope + magnitude * update / length
            for other in others:
                size = np.linalg.norm(other)
                cosine = update @ other / (length * size)
                turn = other / (length * size) - cosine * update / length**2
                slope = slope + direction * 2 * cosine * turn
        weight = weight - lr * slope[: weight.size].reshape(weight.shape)
        bias = bias - lr * slope[weight.size :]
    return weight, bias


def predicted(models, a):
    """Brown's forecast one step ahead: the level plus the trend of double exponential smoothing."""
    once = twice = models[0]
    for model in models[1:]:
        once = [a * new + (1 - a) * old for new, old in zip(model, once, strict=True)]
        twice = [a * new + (1 - a) * old for new, old in zip(once, twice, strict=True)]
    return [
        (2 * first - second) + a / (1 - a) * (first - second)
        for first, second in zip(once, twice, strict=True)
    ]


def misplaced(models, a):
    """The authors' code for the same, with `((2 - a) / 1 - a)`."""
    once = twice = models[0]
    for model in models[1:]:
        once = [a * new + (1 - a) * old for new, old in zip(model, once, strict=True)]
        twice = [a * new + (1 - a) * old for new, old in zip(once, twice, strict=True)]
    return [
        ((2 - a) / 1 - a) * first - (1 / (1 - a)) * second for first, second in zip(once, twice, strict=True)
    ]


def reduced(images, outputs, keep, start, batch):
    """Positions of the images that the authors keep of each batch."""
    kept = []
    for first in range(0, len(images), batch):
        rows = range(first, min(first + batch, len(images)))

        def cosine(values, one, two):
            return values[one] @ values[two] / (np.linalg.norm(values[one]) * np.linalg.norm(values[two]))

        likeness = [[cosine(images, one, two) * cosine(outputs, one, two) for two in rows] for one in rows]
        place = start % len(rows)
        for _ in range(int(len(rows) * keep)):
            place = min(range(len(rows)), key=lambda two, now=place: likeness[now][two])
            kept.append(first + place)
            for row in likeness:
                row[place] = 1
    return kept

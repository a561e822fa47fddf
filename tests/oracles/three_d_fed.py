"""3DFed as its authors' code defines it: plain loops over lists."""

from __future__ import annotations

import math


def optimised_masks(masks, update, *, alpha, steps, momentum, decay):
    """SGD with momentum on each mask, and dual ascent on the length of their sum."""
    group, rows, width = len(masks), len(update), len(update[0])
    masks = [[list(row) for row in mask] for mask in masks]
    velocity = [[[0.0] * width for _ in range(rows)] for _ in range(group)]
    multiplier = 1.0

    def summed(row, column):
        return sum(mask[row][column] for mask in masks)

    def length_of_sum():
        return math.sqrt(sum(summed(row, column) ** 2 for row in range(rows) for column in range(width)))

    for _ in range(steps):
        total, directions = length_of_sum(), []
        for mask in masks:
            length = math.sqrt(sum(value**2 for row in mask for value in row))
            direction = []
            for row in range(rows):
                seen = sum(abs(update[row][column] + mask[row][column]) for column in range(width))
                line = []
                for column in range(width):
                    sign = math.copysign(1, update[row][column] + mask[row][column])
                    visible = -0.1 * sign / seen**2
                    short = 0.08 * mask[row][column] / length
                    common = 0.1 * summed(row, column) / total if total > 1e-6 else 0.0
                    slope = alpha * visible + (1 - alpha) * short + multiplier * common
                    line.append(slope / (1 + multiplier) + decay * mask[row][column])
                direction.append(line)
            directions.append(direction)
        for number in range(group):
            for row in range(rows):
                for column in range(width):
                    speed = momentum * velocity[number][row][column] + directions[number][row][column]
                    velocity[number][row][column] = speed
                    masks[number][row][column] -= 0.1 * speed
        multiplier += 0.1 * length_of_sum()
    return masks


def acceptance(feedback, threshold):
    """Letters for accepted, clipped and rejected updates, or None against a server that adds noise."""
    letters = ""
    for share in feedback:
        if share > 1 or share < -threshold:
            return None
        if share <= threshold:
            letters += "r"
        elif share <= max(feedback) * 0.8:
            letters += "c"
        else:
            letters += "a"
    return letters


def tuning(alphas, accepted, draws):
    """The next alpha of each group."""
    candidates = sorted(alpha for alpha, kept in zip(alphas, accepted, strict=True) if kept)
    out = list(alphas)
    for number, draw in enumerate(draws):
        if len(alphas) == 1:
            if not candidates:
                out[number] = draw
        elif len(candidates) == len(alphas):
            out[number] = candidates[0] + draw * (candidates[1] - candidates[0])
        elif candidates:
            out[number] = candidates[0] + draw * 0.1
        else:
            out[number] = draw
    return [0.99 if alpha >= 1 else 0.01 if alpha <= 0 else alpha for alpha in out]


def decoys_next(decoys, masked, distant):
    """The next number of decoys, from the letters of the backdoored updates and of the decoys."""
    decoys = max(decoys - distant.count("a"), 0)
    if "a" not in masked and "c" not in masked and not distant.count("a") > 0:
        decoys += 1
    return decoys


def hessian_rows(weight, bias, images, free):
    """Row sums of the Hessian of a linear classifier's mean cross-entropy over the places in `free`.

    A place is a class and a pixel. The pixel after the last one is the bias.
    """
    sums = dict.fromkeys(free, 0.0)
    for image in images:
        point = [*image, 1.0]
        logits = [
            sum(w * x for w, x in zip([*row, shift], point, strict=True))
            for row, shift in zip(weight, bias, strict=True)
        ]
        parts = [math.exp(value - max(logits)) for value in logits]
        shares = [part / sum(parts) for part in parts]
        for first, pixel in free:
            for second, other in free:
                slope = shares[first] * ((first == second) - shares[second])
                sums[first, pixel] += slope * point[pixel] * point[other] / len(images)
    return sums

"""Attacks on data and training as their papers define them: plain loops over NumPy arrays."""

from __future__ import annotations

import math

import numpy as np


def blend(images, trigger, alpha):
    out = np.empty_like(images)
    for index in np.ndindex(*images.shape):
        out[index] = (1 - alpha) * images[index] + alpha * trigger[index[1:]]
    return out


def bars(height, width):
    """The four local triggers of DBA on MNIST: 1x4 bars, gaps of 2, as lists of (row, column)."""
    corners = [(0, 0), (0, 6), (3, 0), (3, 6)]
    masks = []
    for row, column in corners:
        mask = np.zeros((height, width), dtype=bool)
        for step in range(4):
            mask[row, column + step] = True
        masks.append(mask)
    return masks


def softmax_gradient(weight, bias, images, labels):
    """Gradients of the mean cross-entropy of a linear classifier: in weights, bias and images (m, p)."""
    by_weight, by_bias, by_image = np.zeros_like(weight), np.zeros_like(bias), np.zeros_like(images)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        logits = weight @ image + bias
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        shares[label] -= 1
        by_weight += np.outer(shares, image) / len(images)
        by_bias += shares / len(images)
        by_image[index] = shares @ weight / len(images)
    return by_weight, by_bias, by_image


def cross_entropy(weight, bias, images, labels):
    total = 0.0
    for image, label in zip(images, labels, strict=True):
        logits = weight @ image + bias
        total += math.log(sum(math.exp(value) for value in logits)) - logits[label]
    return total / len(images)


def ascend(weight, bias, pixels, labels, *, mean, std, epsilon, steps):
    """PGD on the pixels (m, p) of a linear classifier of normalised images, inside the ball and [0, 1]."""
    step = epsilon * min(1.0, 2.5 / steps)
    moved = pixels.copy()
    for _ in range(steps):
        _, _, gradient = softmax_gradient(weight, bias, (moved - mean) / std, labels)
        for index in np.ndindex(*moved.shape):
            value = moved[index] + step * np.sign(gradient[index])
            low, high = max(0.0, pixels[index] - epsilon), min(1.0, pixels[index] + epsilon)
            moved[index] = min(max(value, low), high)
    return moved


def collide(matrix, pixels, base, wanted, *, step, beta):
    """One forward-backward splitting step where features are `matrix @ pixels`, with Polyak's step."""
    out = np.empty_like(pixels)
    for index, (image, clean, feature) in enumerate(zip(pixels, base, wanted, strict=True)):
        gap = matrix @ image - feature
        gradient = 2 * matrix.T @ gap
        rate = step * (gap @ gap) / (gradient @ gradient)
        forward = image - rate * gradient
        out[index] = np.clip((forward + step * beta * clean) / (1 + step * beta), 0, 1)
    return out


def project(weights, start, radius):
    distance = math.sqrt(sum((a - b) ** 2 for a, b in zip(weights, start, strict=True)))
    if distance <= radius:
        return weights
    return np.array([b + radius / distance * (a - b) for a, b in zip(weights, start, strict=True)])


def heaviest(update, top):
    """The positions of the share `top` of the coordinates that are largest in magnitude."""
    order = sorted(range(len(update)), key=lambda index: -abs(update[index]))
    return set(order[: round(top * len(update))])


def tail(images, labels, source, share):
    """The positions of the share of a class that is farthest from its mean."""
    members = [index for index, label in enumerate(labels) if label == source]
    mean = sum(images[index] for index in members) / len(members)
    far = sorted(members, key=lambda index: -math.sqrt(((images[index] - mean) ** 2).sum()))
    return set(far[: round(share * len(members))])


def slant(image):
    mass = image.sum()
    row = sum(r * image[r, c] for r, c in np.ndindex(*image.shape)) / mass
    column = sum(c * image[r, c] for r, c in np.ndindex(*image.shape)) / mass
    covariance = sum((r - row) * (c - column) * image[r, c] for r, c in np.ndindex(*image.shape))
    variance = sum((r - row) ** 2 * image[r, c] for r, c in np.ndindex(*image.shape))
    return -covariance / variance


def contrastive(features, labels, temperature):
    """Khosla et al., equation 2, averaged over the anchors that have a partner."""
    unit = [feature / np.linalg.norm(feature) for feature in features]
    losses = []
    for i, anchor in enumerate(unit):
        partners = [p for p in range(len(unit)) if p != i and labels[p] == labels[i]]
        if partners:
            whole = sum(math.exp(anchor @ unit[a] / temperature) for a in range(len(unit)) if a != i)
            logs = [math.log(math.exp(anchor @ unit[p] / temperature) / whole) for p in partners]
            losses.append(-sum(logs) / len(logs))
    return sum(losses) / len(losses) if losses else 0.0


def critical_layers(benign, malicious, layers, success, tau):
    """Forward then backward layer substitution; layers are lists of coordinates."""
    drops = {}
    for number, layer in enumerate(layers):
        mixed = list(malicious)
        for index in layer:
            mixed[index] = benign[index]
        drops[number] = success(malicious) - success(mixed)
    chosen, mixed = [], list(benign)
    for number in sorted(drops, key=lambda number: -drops[number]):
        chosen.append(number)
        for index in layers[number]:
            mixed[index] = malicious[index]
        if success(mixed) >= tau * success(malicious):
            break
    return chosen


def alternate(weight, bias, clean, poisoned, *, turns, stealth_steps, lr, boost, rho, expected):
    """Bhagoji et al. with whole parts as batches: a boosted targeted step, then stealth steps, in turn."""
    for _ in range(turns):
        by_weight, by_bias, _ = softmax_gradient(weight, bias, *poisoned)
        weight, bias = weight - boost * lr * by_weight, bias - boost * lr * by_bias
        for _ in range(stealth_steps):
            by_weight, by_bias, _ = softmax_gradient(weight, bias, *clean)
            by_weight = by_weight + 2 * rho * (weight - expected[0])
            by_bias = by_bias + 2 * rho * (bias - expected[1])
            weight, bias = weight - lr * by_weight, bias - lr * by_bias
    return weight, bias


def constrain(weight, bias, samples, *, steps, lr, alpha):
    """Gradient steps on alpha L_task + (1 - alpha) |w - w_t|, whole batches."""
    start = weight.copy(), bias.copy()
    for _ in range(steps):
        by_weight, by_bias, _ = softmax_gradient(weight, bias, *samples)
        distance = math.sqrt(((weight - start[0]) ** 2).sum() + ((bias - start[1]) ** 2).sum())
        pull = (1 - alpha) / distance if distance else 0.0
        weight, bias = (
            weight - lr * (alpha * by_weight + pull * (weight - start[0])),
            bias - lr * (alpha * by_bias + pull * (bias - start[1])),
        )
    return weight, bias


def near_the_start(weight, bias, samples, *, steps, lr, alpha):
    """Gradient steps on L_task + alpha (mean squared distance of the weights + that of the biases)."""
    start = weight.copy(), bias.copy()
    for _ in range(steps):
        by_weight, by_bias, _ = softmax_gradient(weight, bias, *samples)
        weight, bias = (
            weight - lr * (by_weight + alpha * 2 * (weight - start[0]) / weight.size),
            bias - lr * (by_bias + alpha * 2 * (bias - start[1]) / bias.size),
        )
    return weight, bias


def within_the_spread(own, visible, z):
    """Clip each coordinate of the updates `own` to mean +- z std of the visible updates."""
    out = []
    for update in own:
        row = []
        for place, value in enumerate(update):
            column = [other[place] for other in visible]
            mean = sum(column) / len(column)
            spread = z * math.sqrt(sum((each - mean) ** 2 for each in column) / len(column))
            row.append(min(max(value, mean - spread), mean + spread))
        out.append(row)
    return np.array(out)


def anticipated(weight, bias, backdoor, ahead, rate):
    """The mean loss on the backdoor now and after each honest gradient step."""
    losses = [cross_entropy(weight, bias, *backdoor)]
    for clean in ahead:
        by_weight, by_bias, _ = softmax_gradient(weight, bias, *clean)
        weight, bias = weight - rate * by_weight, bias - rate * by_bias
        losses.append(cross_entropy(weight, bias, *backdoor))
    return sum(losses) / len(losses)


def with_signal(images, delta, frequency):
    """SIG: add the sinusoid to the columns of images (m, c, h, w) in [0, 1]."""
    out = np.empty_like(images)
    width = images.shape[-1]
    for index in np.ndindex(*images.shape):
        value = images[index] + delta * math.sin(2 * math.pi * index[-1] * frequency / width)
        out[index] = min(max(value, 0.0), 1.0)
    return out


def cubic(distance):
    """Weight of a point in bicubic interpolation with a = -0.75, as in torch."""
    x = abs(distance)
    if x <= 1:
        return 1.25 * x**3 - 2.25 * x**2 + 1
    return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def smooth_field(points, side):
    """Interpolate a field (k, k) to (side, side), with equal corners and repeated edges."""
    k = len(points)
    out = np.zeros((side, side))
    for row in range(side):
        for column in range(side):
            y, x = row * (k - 1) / (side - 1), column * (k - 1) / (side - 1)
            for i in range(math.floor(y) - 1, math.floor(y) + 3):
                for j in range(math.floor(x) - 1, math.floor(x) + 3):
                    near = points[min(max(i, 0), k - 1), min(max(j, 0), k - 1)]
                    out[row, column] += cubic(y - i) * cubic(x - j) * near
    return out


def warp(image, across, down):
    """WaNet: take each pixel of an image (h, h) from a place moved by the fields (h, h), in halves of it."""
    side = len(image)
    out = np.zeros_like(image)
    for row in range(side):
        for column in range(side):
            x = min(max(2 * column / (side - 1) - 1 + across[row, column], -1), 1)
            y = min(max(2 * row / (side - 1) - 1 + down[row, column], -1), 1)
            u, v = (x + 1) / 2 * (side - 1), (y + 1) / 2 * (side - 1)
            for i in (math.floor(v), math.floor(v) + 1):
                for j in (math.floor(u), math.floor(u) + 1):
                    if i < side and j < side:
                        out[row, column] += (1 - abs(v - i)) * (1 - abs(u - j)) * image[i, j]
    return out

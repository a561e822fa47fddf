"""Updates of a linear classifier, honest or backdoored, and what a rule is told about them."""

from __future__ import annotations

from dataclasses import replace

import torch

from strategies.rule import Context

CLASSES, PIXELS = 6, 8


D = CLASSES * (PIXELS + 1)


LAYOUT = (("weight", torch.Size([CLASSES, PIXELS])), ("bias", torch.Size([CLASSES])))


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def honest(n, d=D, seed=0, drift=0.5):
    """Return n updates (n, d) that agree on a direction with more ups than downs."""
    return normal(d, seed=99).abs() * drift + 0.3 * normal(n, d, seed=seed)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def predict(weights, images):
    matrix, bias = weights.split([CLASSES * PIXELS, CLASSES])
    return images.flatten(1).to(weights.dtype) @ matrix.reshape(CLASSES, PIXELS).T + bias


def inspected(generator=None, **changes):
    context = Context(
        model=normal(D, seed=3),
        layout=LAYOUT,
        predict=predict,
        image_shape=(1, 2, PIXELS // 2),
        generator=generator or seeded(),
    )
    return replace(context, **changes)


def backdoored(n, attackers):
    """Return updates whose last rows change one output neuron only."""
    rows = 0.2 * honest(n)
    for row in rows[n - attackers :]:
        row[PIXELS : CLASSES * PIXELS] *= 1e-3
        row[CLASSES * PIXELS + 1 :] *= 1e-3
    return rows

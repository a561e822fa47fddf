"""What tests of rules aggregate: drawn updates, a linear classifier's, and whether an oracle agrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from strategies.base import Context


def agree(rule, oracle, updates, dtype=torch.float64, tolerance=1e-9):
    """Check that a rule gives the update and the trust of its oracle."""
    result = rule(torch.from_numpy(updates).to(dtype))
    update, trust = oracle(updates)
    np.testing.assert_allclose(
        result.update.double(), update, rtol=tolerance, atol=tolerance, err_msg=repr(rule)
    )
    np.testing.assert_allclose(result.trust, trust, rtol=tolerance, atol=tolerance, err_msg=repr(rule))


def close(got, wanted):
    """Check that float64 numbers are equal but for their last digits."""
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-7, atol=1e-9)


def drawn(n, d, seed=0, *, whole=False):
    """Return float64 updates (n, d) that share a direction; whole numbers have many ties."""
    generator = np.random.default_rng([n, d, seed])
    if whole:
        return generator.integers(-2, 3, (n, d)).astype(float)
    return generator.normal(size=d) + generator.normal(size=(n, d))


def crowd(n, d, *, common, spread, seed=0):
    """Return float32 rows of norm `common` that differ by about `spread`."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(d, generator=generator)
    noise = torch.randn(n, d, generator=generator) * torch.linspace(0.5, 2, n)[:, None]
    return shared / shared.norm() * common + noise / d**0.5 * spread


def attacked(n, f, strength, seed=0):
    """Return n updates of which the last f collude far out, and the honest ones."""
    rows = torch.from_numpy(drawn(n, 20, seed))
    rows[n - f :] = strength + 0.01 * rows[n - f :]
    return rows, rows[: n - f]


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

"""Updates drawn from a seed for the tests of rules: honest ones, crowds of large ones, and attacked ones."""

from __future__ import annotations

import numpy as np
import torch


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

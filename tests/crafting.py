"""What tests of update attacks craft with: updates, a context, and rules to turn against."""

from __future__ import annotations

import numpy as np
import torch
from oracles import update_attacks as oracles

from clients.attacks.base import CraftContext

M, H, D = 4, 12, 15


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def context(d=D, *, seed=3, **given):
    values = {
        "clients": M + H,
        "malicious": M,
        "tolerated": M,
        "model": torch.zeros(d, dtype=torch.float64),
        **given,
    }
    return CraftContext(generator=torch.Generator().manual_seed(seed), **values)


def one(rows):
    """Return the row that all malicious clients send."""
    assert rows.shape == (M, D)
    assert bool((rows == rows[0]).all())
    return rows[0].numpy()


def numpy_rule(rule):
    return lambda updates: torch.from_numpy(np.asarray(rule(updates.numpy()))).to(updates.dtype)


median = numpy_rule(oracles.median)
trimmed_mean = numpy_rule(lambda rows: oracles.trimmed_mean(rows, M))
krum = numpy_rule(lambda rows: rows[oracles.krum(rows, M)])
RULES = {"median": median, "trimmed-mean": trimmed_mean, "krum": krum}


def displacement(rule, sent, honest):
    rows = torch.cat([sent, honest])
    return float((rule(rows) - honest.mean(dim=0)).norm())

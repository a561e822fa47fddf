"""The rules that select, weigh or clip whole updates stand as many attackers as they promise, and no more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_updates import attacked

from strategies.aksel import Aksel
from strategies.caf import CAF
from strategies.centered_clipping import CenteredClipping
from strategies.cge import CGE
from strategies.crfl import CRFL
from strategies.dnc import DnC
from strategies.gas import GAS
from strategies.geometric_median import GeometricMedian
from strategies.mda import MDA
from strategies.monna import MoNNA
from strategies.norm_clipping import NormClipping, WeakDP
from strategies.smea import SMEA
from strategies.spectral_filter import SpectralFilter

STEADY = [MDA, SMEA, MoNNA, Aksel, CAF, DnC, GAS, SpectralFilter, GeometricMedian]


def tolerating(kind, f):
    return kind(byzantine=f) if "byzantine" in kind.card.needs else kind()


@pytest.mark.parametrize("strength", [5.0, -1e3, 1e12])
@pytest.mark.parametrize("kind", STEADY)
def test_as_many_as_are_tolerated_do_not_get_far(kind, strength):
    for f in (1, 2, 3):
        for seed in range(3):
            rows, honest = attacked(2 * f + 1 if kind not in FILTERS else 3 * f + 1, f, strength, seed)
            spread = (honest - honest.mean(dim=0)).norm(dim=1).max()
            off = (tolerating(kind, f)(rows).update - honest.mean(dim=0)).norm()
            assert off <= 5 * spread, (kind, f, seed)


FILTERS = {CAF, SpectralFilter, DnC}
"""Rules whose papers need more honest clients than just a majority to bound the error by a small constant."""


@pytest.mark.parametrize("strength", [1e3, -1e6])
@pytest.mark.parametrize("kind", STEADY)
def test_a_majority_moves_the_result_anywhere(kind, strength):
    rows, _ = attacked(11, 8, strength)
    if kind is MoNNA:  # as long as it has taken the trusted client's place
        rows = rows.flip(0)
    update = tolerating(kind, 2)(rows).update
    assert (update.sign() == np.sign(strength)).all()
    assert (update.abs() > abs(strength) / 20).all()


def test_cge_keeps_nobody_longer_than_the_longest_honest_client():
    for strength in (3.0, 1e3, -1e12):
        rows, honest = attacked(9, 4, strength)
        assert CGE(byzantine=4)(rows).update.norm() <= honest.norm(dim=1).max()
    rows, _ = attacked(9, 5, 1e6)
    assert (CGE(byzantine=4)(rows).update > 1e5 / 6).any() or (CGE(byzantine=4)(rows).update.norm() > 1e5)


@pytest.mark.parametrize("strength", [1.0, -1e6, 1e12])
def test_clipping_bounds_what_one_client_can_do(strength):
    rows, honest = attacked(10, 1, strength)
    alone = torch.cat([honest, 0 * honest[:1]])
    for rule, bound in (
        (NormClipping(clip=2.0), 0.2),
        (WeakDP(clip=2.0), 0.2),
        (CenteredClipping(tau=2.0), 0.2),
        (CRFL(), 2 * 2.1),
    ):
        moved = (rule(rows).update - rule(alone).update).norm()
        assert moved <= bound + 1e-9, rule
    assert (NormClipping(clip=1e9)(rows).update - NormClipping(clip=1e9)(alone).update).norm() >= min(
        abs(strength), 1e9
    ) / 10

"""Searches for the best subset of updates are exact, quick where they can be, and refused where not."""

from __future__ import annotations

import numpy as np
import oracles_selection as oracles
import pytest
import torch
from agreement import agree
from drawn_updates import drawn

from strategies.mda import MDA
from strategies.rule import PreconditionError
from strategies.smea import SMEA
from strategies.vertex_cover import CoverSearch


@pytest.mark.parametrize(("n", "f"), [(13, 5), (14, 4)])
@pytest.mark.parametrize("d", [1, 2, 30])
def test_minimum_diameter_subsets_are_those_of_the_full_search(n, f, d):
    for seed in range(3):
        updates = drawn(n, d, seed)
        agree(MDA(byzantine=f), lambda x: oracles.mda(x, f), updates)


def test_a_hundred_clients_are_no_burden_for_mda():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(100, 30, generator=generator)
    rows[::3] += 10 * torch.randn(34, 30, generator=generator)
    kept = MDA(byzantine=34)(rows).trust > 0
    assert kept.tolist() == [row % 3 > 0 for row in range(100)]
    assert (MDA(byzantine=45)(torch.randn(100, 30, generator=generator)).trust > 0).sum() == 55


@pytest.mark.parametrize("seed", range(20))
def test_covers_are_those_of_the_full_search(seed):
    generator = np.random.default_rng(seed)
    n, density = 9, generator.choice([0.15, 0.3, 0.6])
    edges = [(a, b) for a in range(n) for b in range(a) if generator.random() < density]
    conflicts = [0] * n
    for a, b in edges:
        conflicts[a] |= 1 << b
        conflicts[b] |= 1 << a
    sizes = [s.bit_count() for s in range(1 << n) if all(s >> a & 1 or s >> b & 1 for a, b in edges)]
    for removals in range(n):
        covered = CoverSearch(10_000).coverable(conflicts, (1 << n) - 1, removals)
        assert covered == (min(sizes) <= removals)


def test_too_costly_searches_are_refused_with_the_knob_to_turn():
    rows = torch.from_numpy(drawn(40, 3))
    with pytest.raises(PreconditionError, match=r"658,008 subsets of 40 updates. Raise `subsets`"):
        SMEA(byzantine=5)(rows)
    with pytest.raises(PreconditionError, match="within its 3 steps. Raise `steps`"):
        MDA(byzantine=15, steps=3)(rows)

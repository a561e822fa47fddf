"""Update attacks have in common the laws, knobs within their ranges, and runs that go through."""

from __future__ import annotations

import pytest
from crafting import context, median

from clients.alie import Alie, OptimalAlie, SparseAlie
from clients.anti_cge import AntiCge
from clients.contract import check_attack
from clients.fang_krum import FangKrum
from clients.fang_trimmed_mean import FangTrimmedMean
from clients.free_rider import FreeRider
from clients.identical_coordinate import IdenticalCoordinate
from clients.ipm import OptimalIpm
from clients.mimic import Mimic
from clients.min_max import MinMax, MinSum
from clients.mpaf import Mpaf
from clients.poisoned_fl import PoisonedFl
from clients.rop import Rop
from clients.simple_updates import GaussianUpdate, NonFiniteUpdate, RandomUpdate
from clients.tailored import Tailored
from fedpoison.simulation import simulate

VARIANTS = [
    Alie(z=1.0, direction=1, correction=1),
    AntiCge(margin=0.1),
    FangKrum(knowledge="partial"),
    FangTrimmedMean(knowledge="partial"),
    FangTrimmedMean(b=1.0),
    FreeRider(base="last", noise=0.0),
    GaussianUpdate(mean=0.1, mode="add"),
    IdenticalCoordinate(coordinate=None, sign=-1),
    Mimic(node=7),
    Mimic(warmup=2),
    MinMax(direction="unit"),
    MinMax(direction="sign"),
    MinSum(direction="unit", bound="min"),
    Mpaf(base="initial"),
    NonFiniteUpdate(value="-inf"),
    OptimalAlie(direction=1, correction=1),
    PoisonedFl(period=1),
    Rop(relocation=0.0, z=1.0, angle=90.0),
    SparseAlie(share=0.0),
    SparseAlie(share=1.0, mask="magnitude"),
    Tailored(direction="sign", evaluations=2),
]


@pytest.mark.parametrize("attack", VARIANTS, ids=repr)
def test_the_laws_hold_for_the_other_settings(attack):
    check_attack(attack)


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        (RandomUpdate, {"low": 1.0, "high": 0.0}),
        (FreeRider, {"noise": -1.0}),
        (OptimalIpm, {"evaluations": 1}),
        (Tailored, {"start": 0.0}),
        (IdenticalCoordinate, {"reach": 0.0}),
        (Mimic, {"warmup": 0}),
        (Mimic, {"node": -1}),
        (FangKrum, {"threshold": 0.0}),
        (FangTrimmedMean, {"b": 0.5}),
        (Rop, {"blend": 2.0}),
        (SparseAlie, {"share": 2.0}),
        (AntiCge, {"margin": 0.0}),
        (PoisonedFl, {"confidence": 1.0}),
    ],
)
def test_a_knob_out_of_range_is_named(kind, knobs):
    with pytest.raises(ValueError, match=f"{next(iter(knobs))}.*expected"):
        kind(**knobs)


def test_a_coordinate_that_is_not_there_is_named(own, honest):
    with pytest.raises(ValueError, match="got 15, wanted one of 15"):
        IdenticalCoordinate(coordinate=15).craft(own, honest, context(rule=median))


@pytest.mark.parametrize(
    ("attack", "clients", "malicious", "idle"),
    [
        (Alie(), 10, 2, True),
        (Rop(relocation=0.0), 10, 2, True),
        (Rop(), 10, 2, False),
        (SparseAlie(), 10, 2, False),
        (SparseAlie(share=0.0), 10, 2, True),
        (SparseAlie(share=0.0), 50, 10, False),
        (GaussianUpdate(std=0.0, mode="add"), 10, 2, True),
        (GaussianUpdate(std=0.0, mean=1.0, mode="add"), 10, 2, False),
        (RandomUpdate(), 10, 2, False),
    ],
    ids=repr,
)
def test_idle_settings_say_so(attack, clients, malicious, idle):
    assert (attack.idle(clients, malicious) is not None) == idle


def test_fang_krum_owns_a_run_under_krum(small):
    history = simulate(small.but(attack="fang-krum", strategy="krum"))
    trust = history.trust()
    assert trust[trust["malicious"]].groupby("round")["trust"].sum().tolist() == [1.0] * 3


@pytest.mark.parametrize(
    "attack", ["tailored", "mimic", "poisoned-fl", "rop", "sparse-alie", "fang-trimmed-mean", "anti-cge"]
)
def test_a_run_goes_through(small, attack):
    history = simulate(small.but(attack=attack, strategy="trimmed-mean", rounds=2))
    assert 0 < history.last.accuracy <= 1


def test_a_server_drops_what_is_not_finite(small):
    history = simulate(small.but(attack="non-finite-update", strategy="median"))
    assert set(history.last.training.dropped) == set(history.last.training.malicious)

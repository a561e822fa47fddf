"""Update attacks keep the laws and do what they are for: meet a bound, get picked, move a rule."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from crafting import RULES, D, H, M, context, displacement, drawn, krum, median, one, trimmed_mean
from oracles import update_attacks as oracles

from clients.attacks.updates.alie import Alie, OptimalAlie, SparseAlie
from clients.attacks.updates.anti_cge import AntiCge
from clients.attacks.updates.fang import FangKrum, FangTrimmedMean
from clients.attacks.updates.free_rider import FreeRider
from clients.attacks.updates.identical_coordinate import IdenticalCoordinate
from clients.attacks.updates.ipm import Ipm, OptimalIpm
from clients.attacks.updates.mimic import Mimic
from clients.attacks.updates.min_max import Direction, MinMax, MinSum, Tailored
from clients.attacks.updates.mpaf import Mpaf
from clients.attacks.updates.poisoned_fl import PoisonedFl
from clients.attacks.updates.rop import Rop
from clients.attacks.updates.simple_updates import GaussianUpdate, NonFiniteUpdate, RandomUpdate
from clients.checks import check_attack
from fedpoison.simulation.run import simulate

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
    ("kind", "parameters"),
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
def test_a_knob_out_of_range_is_named(kind, parameters):
    with pytest.raises(ValueError, match=f"{next(iter(parameters))}.*expected"):
        kind(**parameters)


def test_a_coordinate_that_is_not_there_is_named(own, honest):
    with pytest.raises(IndexError, match="index 15 is out of bounds"):  # `check` names it before a run
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
    assert (attack.no_effect(clients, malicious) is not None) == idle


def test_fang_krum_owns_a_run_under_krum(small):
    history = simulate(small.replace(attack="fang-krum", strategy="krum"))
    trust = history.trust()
    assert trust[trust["malicious"]].groupby("round")["trust"].sum().tolist() == [1.0] * 3


@pytest.mark.parametrize(
    "attack", ["tailored", "mimic", "poisoned-fl", "rop", "sparse-alie", "fang-trimmed-mean", "anti-cge"]
)
def test_a_run_goes_through(small, attack):
    history = simulate(small.replace(attack=attack, strategy="trimmed-mean", rounds=2))
    assert 0 < history.last.accuracy <= 1


def test_a_server_drops_what_is_not_finite(small):
    history = simulate(small.replace(attack="non-finite-update", strategy="median"))
    assert set(history.last.training.dropped) == set(history.last.training.malicious)


def test_min_max_and_min_sum_meet_their_bounds_exactly(own, honest):
    sent = MinMax().craft(own, honest, context())[0]
    assert float(torch.cdist(sent[None], honest).max()) == pytest.approx(float(torch.pdist(honest).max()))
    sent = MinSum().craft(own, honest, context())[0]
    sums = torch.cdist(honest, honest).square().sum(dim=1)
    assert float((honest - sent).square().sum()) == pytest.approx(float(sums.max()))


def test_min_max_keeps_its_bound_where_updates_are_nearly_equal():
    honest = (100 + 1e-2 * drawn(H, 5000)).float()
    sent = MinMax().craft(honest[:M], honest, context(5000))[0].double()
    farthest = (honest.double() - sent).norm(dim=1).max()
    assert float(farthest) == pytest.approx(float(torch.pdist(honest.double()).max()), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_fang_krum_gets_picked(own, seed):
    honest = 0.5 + drawn(H, D, seed=seed)
    sent = FangKrum().craft(own, honest, context())
    assert oracles.krum(torch.cat([sent, honest]).numpy(), M) < M
    assert float(sent[0].abs().min()) > 0.01
    assert displacement(krum, sent, honest) > displacement(krum, Ipm().craft(own, honest, context()), honest)


def test_fang_partial_does_not_look_at_honest_updates(own, honest):
    for attack in (FangKrum(knowledge="partial"), FangTrimmedMean(knowledge="partial")):
        assert torch.equal(attack.craft(own, honest, context()), attack.craft(own, -3 * honest, context()))


@pytest.mark.parametrize("name", RULES)
def test_those_that_know_the_rule_move_it_further(own, honest, name):
    rule = RULES[name]
    given = context(rule=rule)
    plain = [attack.craft(own, honest, given) for attack in (Ipm(), Alie(z=0.3), Ipm(epsilon=2.0))]
    usual = max(displacement(rule, sent, honest) for sent in plain)
    best = {
        attack: displacement(rule, attack.craft(own, honest, given), honest)
        for attack in (OptimalAlie(), OptimalIpm(), Tailored(), Tailored(direction="unit"))
    }
    assert max(best.values()) > 1.05 * usual
    assert best[Tailored()] > usual


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("direction", get_args(Direction))
def test_tailored_finds_what_a_fine_grid_finds(own, honest, name, direction):
    rule = RULES[name]
    middle, away = honest.mean(dim=0), torch.from_numpy(oracles.perturbation(honest.numpy(), direction))
    grid = np.linspace(0.02, 20, 250)
    best = max(displacement(rule, (middle + g * away).expand(M, -1), honest) for g in grid)
    sent = Tailored(direction=direction).craft(own, honest, context(rule=rule))
    assert displacement(rule, sent, honest) > 0.97 * best


def test_a_single_coordinate_carries_the_whole_error(own):
    d = 1000
    honest = drawn(H, d)
    given = context(d, rule=krum)
    sent = IdenticalCoordinate(coordinate=3).craft(drawn(M, d, seed=1), honest, given)
    assert oracles.krum(torch.cat([sent, honest]).numpy(), M) < M
    off = sent[0] - honest.mean(dim=0)
    assert (off.abs() > 1e-9).nonzero().flatten().tolist() == [3]
    # An honest coordinate spreads by 1; this one is off by a good part of the distance between two updates.
    assert float(off[3]) > 0.3 * float(torch.pdist(honest).min())
    grid = np.linspace(0, 60, 120)
    tries = [(honest.mean(dim=0) + g * off / off[3]).expand(M, -1) for g in grid]
    best = max(float((krum(torch.cat([rows, honest])) - honest.mean(dim=0))[3]) for rows in tries)
    assert float(off[3]) > 0.97 * best


def test_the_warm_up_finds_a_client_that_differs_most():
    d, odd = 200, [4, 9]
    attack, memory, client_ids = Mimic(warmup=4), {}, tuple(range(M, M + H))
    sent = []
    for seed in range(8):
        honest = 0.1 * drawn(H, d, seed=seed)
        honest[odd, 17] += torch.tensor([5.0, -5.0], dtype=torch.float64)
        given = context(d, memory=memory, seen_client_ids=client_ids)
        sent.append(attack.craft(honest[:M], honest, given)[0])
    assert abs(float(memory["direction"][17])) > 0.98
    assert int(memory["target"]) in [client_ids[index] for index in odd]
    pushed = torch.stack(sent)[:, 17]
    assert float(pushed.abs().min()) > 4
    assert float(pushed.sign().sum().abs()) == 8


def test_mimicry_follows_the_node_not_the_position(own):
    attack = Mimic(node=9)

    def row(client_ids):
        honest = drawn(len(client_ids), D)
        sent = one(attack.craft(own, honest, context(seen_client_ids=client_ids)))
        return next(index for index, update in enumerate(honest.numpy()) if (update == sent).all())

    assert row((3, 5, 9, 11)) == 2
    assert row((9, 11)) == 0
    assert row((3, 8, 10)) == 2  # absent: the next one
    assert row((1, 2)) == 0


def test_the_choice_of_the_warm_up_outlasts_an_absence(own):
    attack, memory, first, later = Mimic(), {}, drawn(3, D), drawn(2, D, seed=5)

    def sent(honest, client_ids):
        return one(attack.craft(own, honest, context(seen_client_ids=client_ids, memory=memory)))

    begun = sent(first, (4, 6, 8))
    target = int(memory["target"])
    np.testing.assert_array_equal(begun, first[(4, 6, 8).index(target)])
    nearest = int((later @ memory["direction"]).argmax())
    np.testing.assert_array_equal(sent(later, (98, 99)), later[nearest])
    np.testing.assert_array_equal(sent(later, (target, 99)), later[0])
    np.testing.assert_array_equal(sent(later, (1, target)), later[1])


def test_poisoned_fl_keeps_its_direction(own):
    attack, memory = PoisonedFl(), {}
    model, previous, sent = torch.ones(D, dtype=torch.float64), None, []
    for server_round in range(1, 8):
        given = context(model=model, previous_model=previous, round=server_round, memory=memory)
        sent.append(attack.craft(drawn(M, D, seed=server_round), None, given)[0])
        previous, model = model, model + 0.1 * drawn(D, seed=50 + server_round) + 0.1 * sent[-1]
    assert not sent[0].any()
    signs = torch.stack(sent[1:]).sign()
    assert torch.equal(signs, memory["signs"].expand(6, D))


def test_cge_keeps_what_anti_cge_sends(own, honest):
    sent = AntiCge().craft(own, honest, context()).numpy()
    rows = np.concatenate([sent, honest.numpy()])
    kept = oracles.cge_kept(rows, M)
    assert set(range(M)) <= set(kept)
    honest_kept = rows[[index for index in kept if index >= M]]
    assert sent[0] @ honest_kept.sum(axis=0) < 0


def test_fang_trimmed_mean_moves_the_rules_against_the_step(own, honest):
    step = torch.cat([own, honest]).mean(dim=0)
    sent = FangTrimmedMean().craft(own, honest, context())
    for rule in (median, trimmed_mean):
        moved = rule(torch.cat([sent, honest])) - rule(torch.cat([own, honest]))
        assert float((moved * step.sign()).mean()) < -0.1

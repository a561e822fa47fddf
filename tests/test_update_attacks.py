"""Update attacks against the papers' definitions, against ByzFL, and in what they are for."""

from __future__ import annotations

from dataclasses import replace

import byzfl
import numpy as np
import oracles_updates as oracles
import pytest
import torch

from clients.alie import Alie, largest_z
from clients.anti_cge import AntiCge
from clients.attack import CraftContext
from clients.contract import check_attack
from clients.fang_krum import FangKrum
from clients.fang_trimmed_mean import FangTrimmedMean
from clients.free_rider import FreeRider
from clients.gaussian_update import GaussianUpdate
from clients.identical_coordinate import IdenticalCoordinate
from clients.inner_products import inner_products, products_with, squared_distances, squared_norms
from clients.ipm import Ipm
from clients.knowledge import crafted
from clients.line_search import coarse_then_fine, expand_then_contract
from clients.mimic import Mimic
from clients.min_max import MinMax
from clients.min_sum import MinSum
from clients.moments import mean_of, spread_of
from clients.mpaf import Mpaf
from clients.non_finite_update import NonFiniteUpdate
from clients.optimal_alie import OptimalAlie
from clients.optimal_ipm import OptimalIpm
from clients.poisoned_fl import PoisonedFl
from clients.probe import Probe
from clients.random_update import RandomUpdate
from clients.rop import Rop
from clients.scaled_update import ScaledUpdate
from clients.sign_flip import SignFlip
from clients.sparse_alie import SparseAlie
from clients.tailored import Tailored
from clients.zero_update import ZeroUpdate
from fedpoison.adversary import rule_kind
from fedpoison.pipelines import build_pipeline
from fedpoison.simulation import simulate

M, H, D = 4, 12, 15


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.fixture
def own():
    return 0.5 + drawn(M, D, seed=1)


@pytest.fixture
def honest():
    return 0.5 + drawn(H, D, seed=2)


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


# The papers' definitions


def test_alie_is_the_mean_minus_z_deviations(own, honest):
    expected = oracles.mean(own.numpy()) - 0.7 * oracles.std(own.numpy())
    np.testing.assert_allclose(one(Alie(z=0.7).craft(own, None, context())), expected)


@pytest.mark.parametrize(("n", "f"), [(50, 10), (51, 12), (25, 5), (20, 4), (10, 2), (100, 20)])
def test_the_z_of_alie(n, f):
    assert largest_z(n, f) == pytest.approx(oracles.alie_z(n, f), abs=1e-9)


def test_the_plain_ones(own, honest):
    np.testing.assert_allclose(one(Ipm(epsilon=0.3).craft(own, honest, context())), -0.3 * honest.mean(dim=0))
    assert torch.equal(SignFlip().craft(own, None, context()), -own)
    assert torch.equal(ScaledUpdate(factor=4).craft(own, None, context()), 4 * own)
    assert torch.equal(ZeroUpdate().craft(own, None, context()), 0 * own)
    assert NonFiniteUpdate().craft(own, None, context()).isnan().all()


def test_noise_has_the_moments_that_it_should():
    own = drawn(2, 40_000)
    normal = GaussianUpdate(std=2.0, mean=0.5).craft(own, None, context(40_000))
    assert float(normal.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(normal.std()) == pytest.approx(2.0, rel=0.01)
    uniform = RandomUpdate(low=-3.0, high=1.0).craft(own, None, context(40_000))
    assert -3 <= float(uniform.min()) < -2.99
    assert 0.99 < float(uniform.max()) <= 1
    assert float(uniform.mean()) == pytest.approx(-1, abs=0.03)
    assert not torch.equal(uniform[0], uniform[1])


def test_a_free_rider_fades_its_noise_like_training():
    d = 40_000
    own, model, previous = drawn(1, d), drawn(d, seed=4), drawn(d, seed=5)
    step, memory = model - previous, {}
    assert not FreeRider().craft(own, None, context(d, model=model)).any()

    def sent(attack, server_round):
        given = context(d, model=model, previous_model=previous, round=server_round, memory=memory)
        return attack.craft(own, None, given)[0]

    assert float(sent(FreeRider(), 2).std()) == pytest.approx(float(step.std()) / 2, rel=0.02)
    model = previous + 100 * step  # the deviation of the first step is kept
    assert float(sent(FreeRider(decay=0.5), 4).std()) == pytest.approx(float(step.std()) / 2, rel=0.02)
    assert torch.equal(sent(FreeRider(base="last", noise=0), 4), model - previous)


@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
def test_min_max_is_the_papers(own, honest, direction):
    sent = MinMax(direction=direction).craft(own, honest, context())
    np.testing.assert_allclose(one(sent), oracles.min_max(honest.numpy(), direction), rtol=1e-6)


@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
@pytest.mark.parametrize("bound", ["max", "min"])
def test_min_sum_is_the_papers(own, honest, direction, bound):
    sent = MinSum(direction=direction, bound=bound).craft(own, honest, context())
    np.testing.assert_allclose(one(sent), oracles.min_sum(honest.numpy(), direction, bound), rtol=1e-6)


def test_fang_krum_is_the_papers(own, honest):
    np.testing.assert_allclose(
        one(FangKrum().craft(own, honest, context())), oracles.fang_krum(own.numpy(), honest.numpy())
    )
    partial = oracles.fang_krum_partial(own.numpy())
    for attack, seen in ((FangKrum(knowledge="partial"), honest), (FangKrum(), None)):
        np.testing.assert_allclose(one(attack.craft(own, seen, context())), partial)


@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_fang_trimmed_mean_draws_from_the_papers_intervals(own, honest, shift):
    own, honest = own + shift, honest + shift  # all values of one sign, or of both
    cases = [
        (FangTrimmedMean(), oracles.fang_trimmed_mean_interval(own.numpy(), honest.numpy(), 2.0)),
        (FangTrimmedMean(knowledge="partial"), oracles.fang_trimmed_mean_interval_partial(own.numpy())),
    ]
    for attack, ends in cases:
        draws = torch.cat([attack.craft(own, honest, context(seed=seed)) for seed in range(100)]).numpy()
        lower, upper = ends.T
        assert (draws >= lower - 1e-12).all()
        assert (draws <= upper + 1e-12).all()
        width = (draws.max(axis=0) - draws.min(axis=0)) / (upper - lower)
        assert (width > 0.95).all()


@pytest.mark.parametrize("warmup", [1, 3])
def test_mimic_is_the_papers(own, warmup):
    rounds = [drawn(H, D, seed=seed) for seed in range(20, 25)]
    start = torch.randn(D, generator=torch.Generator().manual_seed(3), dtype=torch.float64).numpy()
    targets = oracles.mimic([honest.numpy() for honest in rounds], start, warmup)
    attack, memory = Mimic(warmup=warmup), {}
    for honest, target in zip(rounds, targets, strict=True):
        np.testing.assert_array_equal(one(attack.craft(own, honest, context(memory=memory))), honest[target])


@pytest.mark.parametrize("knobs", [{}, {"angle": 35.0, "relocation": 0.3, "blend": 0.6, "z": 2.0}])
def test_rop_is_the_papers_turned_round(own, honest, knobs):
    """Updates are minus the momenta, up to a learning rate that is 1 here."""
    last = drawn(D, seed=6)
    given = context(model=last + 1, previous_model=torch.ones(D, dtype=torch.float64))
    defaults = {"z": largest_z(M + H, M), "angle": 270.0, "relocation": 1.0, "blend": 0.9}
    expected = -oracles.rop_gradient(-honest.numpy(), -last.numpy(), **(defaults | knobs))
    np.testing.assert_allclose(one(Rop(**knobs).craft(own, honest, given)), expected)


def test_sparse_alie_is_the_papers(own, honest):
    model, memory = drawn(D, seed=7), {}
    attack = SparseAlie(share=0.3, scale=1.5, z=0.2)
    for weights in (model, drawn(D, seed=8)):
        sent = attack.craft(own, honest, context(model=weights, memory=memory))
        expected = oracles.sparse_alie(honest.numpy(), model.numpy(), 0.3, 1.5, 0.2)
        np.testing.assert_allclose(one(sent), expected)  # the mask of the first round stays


@pytest.mark.parametrize("tolerated", [1, 3, 4])
def test_anti_cge_is_its_authors(own, honest, tolerated):
    sent = AntiCge().craft(own, honest, context(tolerated=tolerated))
    np.testing.assert_allclose(one(sent), oracles.anti_cge(honest.numpy(), tolerated, 1e-6))


def test_poisoned_fl_is_the_papers(own):
    models = [drawn(D, seed=seed) for seed in range(30, 42)]
    attack, memory = PoisonedFl(period=3, floor=4.0), {}
    sent = []
    for index, model in enumerate(models):
        previous = models[index - 1] if index else None
        given = context(model=model, previous_model=previous, round=index + 1, memory=memory)
        sent.append(one(attack.craft(own, None, given)))
    quantile = round(D / 2 + 2.3263 * D**0.5 / 2)
    expected = oracles.poisoned_fl(
        [model.numpy() for model in models],
        memory["signs"].numpy(),
        factor=8.0,
        shrink=0.7,
        floor=4.0,
        period=3,
        quantile=quantile,
    )
    np.testing.assert_allclose(sent, expected)
    assert float(memory["factor"]) == pytest.approx(8 * 0.7)  # once; a second time would pass the floor


def test_mpaf_pulls_to_one_base_for_good(own):
    initial = torch.cat([0.01 * drawn(10, seed=9), 5 * drawn(5, seed=10)])
    layout = (("a", torch.Size([2, 5])), ("b", torch.Size([5])))
    memory = {}
    for seed in (11, 12):
        model = drawn(D, seed=seed)
        given = context(model=model, initial_model=initial, layout=layout, memory=memory, seed=seed)
        np.testing.assert_allclose(one(Mpaf().craft(own, None, given)), 1e6 * (memory["base"] - model))
    assert float(memory["base"][:10].abs().max()) < 0.1
    assert float(memory["base"][10:].abs().max()) > 1
    given = context(model=model, initial_model=initial)
    sent = Mpaf(base="initial", factor=2).craft(own, None, given)
    np.testing.assert_allclose(one(sent), 2 * (initial - model))


# ByzFL, an independent implementation. It attacks gradients, this project updates; as formulas on the rows
# that they are given both read alike, but for the sign in front of the standard deviation.


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Ipm(epsilon=1.0), byzfl.SignFlipping()),
        (Ipm(epsilon=2.0), byzfl.InnerProductManipulation(2.0)),
        (Alie(z=1.5, direction=1, correction=1), byzfl.ALittleIsEnough(1.5)),
        (Mimic(node=5), byzfl.Mimic(5)),
        (NonFiniteUpdate(value="inf"), byzfl.Inf()),
    ],
    ids=repr,
)
def test_byzfl_sends_the_same(honest, ours, theirs):
    # `alie` sees only what its own clients would send, unless a scenario lets it see more.
    own, seen = (honest[:M], honest) if not isinstance(ours, Alie) else (honest, None)
    sent = ours.craft(own, seen, context())[0]
    np.testing.assert_allclose(sent.numpy(), np.asarray(theirs(honest.numpy())), rtol=1e-5)


AGGREGATORS = {
    "average": byzfl.Average(),
    "krum": byzfl.Krum(M),
    "median": byzfl.Median(),
    "trimmed mean": byzfl.TrMean(M),
    "geometric median": byzfl.GeometricMedian(),
}


@pytest.mark.parametrize("rule", AGGREGATORS.values(), ids=list(AGGREGATORS))
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (OptimalIpm(), byzfl.Optimal_InnerProductManipulation),
        (OptimalAlie(direction=1, correction=1), byzfl.Optimal_ALittleIsEnough),
    ],
    ids=["ipm", "alie"],
)
def test_byzfl_finds_the_same_factor(own, honest, rule, ours, theirs):
    sent = ours.craft(own, honest, context(rule=numpy_rule(rule)))
    expected = theirs(agg=rule, pre_agg_list=[], f=M)(honest.numpy())
    np.testing.assert_allclose(one(sent), expected, rtol=1e-5)


# What they are for


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
@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
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
    attack, memory, nodes = Mimic(warmup=4), {}, tuple(range(M, M + H))
    sent = []
    for seed in range(8):
        honest = 0.1 * drawn(H, d, seed=seed)
        honest[odd, 17] += torch.tensor([5.0, -5.0], dtype=torch.float64)
        given = context(d, memory=memory, seen_nodes=nodes)
        sent.append(attack.craft(honest[:M], honest, given)[0])
    assert abs(float(memory["direction"][17])) > 0.98
    assert int(memory["target"]) in [nodes[index] for index in odd]
    pushed = torch.stack(sent)[:, 17]
    assert float(pushed.abs().min()) > 4
    assert float(pushed.sign().sum().abs()) == 8


def test_mimicry_follows_the_node_not_the_position(own):
    attack = Mimic(node=9)

    def row(nodes):
        honest = drawn(len(nodes), D)
        sent = one(attack.craft(own, honest, context(seen_nodes=nodes)))
        return next(index for index, update in enumerate(honest.numpy()) if (update == sent).all())

    assert row((3, 5, 9, 11)) == 2
    assert row((9, 11)) == 0
    assert row((3, 8, 10)) == 2  # absent: the next one
    assert row((1, 2)) == 0


def test_the_choice_of_the_warm_up_outlasts_an_absence(own):
    attack, memory, first, later = Mimic(), {}, drawn(3, D), drawn(2, D, seed=5)

    def sent(honest, nodes):
        return one(attack.craft(own, honest, context(seen_nodes=nodes, memory=memory)))

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


# What they know


def test_the_number_tolerated_and_the_honest_nodes_are_handed_over_as_declared(own, honest):
    given = []

    def handed(kind, *, knowledge=None):
        class Recorder(kind):
            def craft(self, own, seen, context):
                given.append((context.tolerated, context.seen_nodes))
                return own

        crafted(Recorder(), own, honest, lambda *_: context(seen_nodes=(7, 8)), nodes=(0, 1, 2, 3))
        return given.pop()

    assert handed(Tailored) == (M, (7, 8))
    assert handed(Ipm) == (None, (7, 8))
    assert handed(Alie) == (None, ())


def test_without_sight_of_the_honest_own_updates_stand_for_them(own):
    calls = []

    def rule(updates):
        calls.append(updates.clone())
        return updates.mean(dim=0)

    probe = Probe(own, None, context(rule=rule))
    probe.along(torch.ones(D, dtype=torch.float64), start=0.0, coordinates=D)(0.0)
    assert len(calls[0]) == M + H
    assert not calls[0][:M].any()
    assert torch.equal(calls[0][M:], own.repeat(H // M, 1))


def watched(rule):
    """Return the rule as attackers know it, and a list that grows by the width of whatever it is tried on."""
    widths = []

    def tried(updates):
        widths.append(updates.shape[1])
        return rule(updates).update

    return tried, widths


SEARCHES = [
    OptimalAlie(),
    OptimalIpm(),
    Tailored(),
    Tailored(direction="unit"),
    IdenticalCoordinate(),
    IdenticalCoordinate(coordinate=None),
]


@pytest.mark.parametrize("attack", SEARCHES, ids=repr)
@pytest.mark.parametrize("spec", ["krum", "nnm | multi-krum", "geometric-median", "cge", "fedavg"])
def test_a_rule_that_turns_is_searched_in_the_span_with_the_same_result(attack, spec):
    d = 400
    own, honest = 0.3 + drawn(M, d, seed=4), 0.3 + drawn(H, d, seed=5)
    rule = build_pipeline(spec, byzantine=M).rule
    assert rule_kind(rule.card) == "turns"
    tried, widths = watched(rule)
    whole = attack.craft(own, honest, context(d, rule=tried))
    assert set(widths) == {d}
    widths.clear()
    span = attack.craft(own, honest, context(d, rule=tried, rule_kind="turns"))
    assert set(widths) == {H + 2}
    torch.testing.assert_close(span, whole, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("attack", SEARCHES, ids=repr)
@pytest.mark.parametrize("spec", ["median", "trimmed-mean", "phocas", "mean-around-median"])
def test_a_rule_by_coordinate_is_searched_on_some_with_almost_the_same_damage(attack, spec):
    d = 6000
    own, honest = 0.3 + drawn(M, d, seed=4), 0.3 + drawn(H, d, seed=5)
    rule = build_pipeline(spec, byzantine=M).rule
    assert rule_kind(rule.card) == "by coordinate"
    tried, widths = watched(rule)
    whole = attack.craft(own, honest, context(d, rule=tried))
    some = replace(attack, probe_coordinates=1000).craft(
        own, honest, context(d, rule=tried, rule_kind="by coordinate")
    )
    one_alone = isinstance(attack, IdenticalCoordinate) and attack.coordinate is not None
    assert widths[-1] == (1 if one_alone else 1000)
    if one_alone:
        torch.testing.assert_close(some, whole, rtol=1e-6, atol=1e-9)
    assert displacement(tried, some, honest) > 0.99 * displacement(tried, whole, honest)


def test_what_looks_back_or_at_the_model_is_tried_on_all_of_it():
    for spec in ("fedavg | adam", "nnm | median", "centered-clipping", "fltrust", "lasa", "bulyan"):
        assert rule_kind(build_pipeline(spec, byzantine=1).rule.card) is None


def test_an_attack_on_a_rule_that_it_does_not_know_says_so(own, honest):
    for attack in (OptimalIpm(), OptimalAlie(), Tailored(), IdenticalCoordinate()):
        with pytest.raises(ValueError, match="wanted the server's rule"):
            attack.craft(own, honest, context(rule=None))


@pytest.mark.parametrize("attack", [OptimalIpm, OptimalAlie, Tailored, IdenticalCoordinate])
@pytest.mark.parametrize("evaluations", [2, 7, 20])
def test_the_rule_is_tried_as_often_as_the_knob_says(own, honest, attack, evaluations):
    calls = []

    def rule(updates):
        calls.append(len(updates))
        return updates.mean(dim=0)

    attack(evaluations=evaluations).craft(own, honest, context(rule=rule))
    assert calls == [M + H] * evaluations


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
    with pytest.raises(ValueError, match=f"{next(iter(knobs))}.*wanted"):
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


# What they are built from


def test_moments_and_products_are_exact_over_chunks():
    rows = drawn(5, 10_000, dtype=torch.float32) + 3
    mean = mean_of(rows)
    torch.testing.assert_close(mean, rows.mean(dim=0))
    for correction in (0, 1):
        torch.testing.assert_close(
            spread_of(rows, mean, correction=correction), rows.std(0, correction=correction)
        )
    centred = rows.double() - mean.double()
    products = inner_products(rows[:2], rows[2:], origin=mean)
    torch.testing.assert_close(products, centred @ centred.T, rtol=1e-5, atol=1e-2)
    torch.testing.assert_close(squared_norms(rows, origin=mean), products.diagonal(), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        squared_distances(products), torch.cdist(centred, centred).square(), rtol=1e-5, atol=0
    )
    vector = drawn(10_000, seed=1, dtype=torch.float32)
    torch.testing.assert_close(
        products_with(rows, vector, origin=mean), centred @ vector.double(), rtol=1e-4, atol=1e-2
    )
    torch.testing.assert_close(
        products_with(rows, vector), rows.double() @ vector.double(), rtol=1e-4, atol=1e-2
    )


def test_the_searches_keep_what_is_best_so_far():
    def plateau(factor):
        return min(factor, 5.0)

    assert plateau(expand_then_contract(plateau, step=10, evaluations=20)) == 5
    assert plateau(coarse_then_fine(plateau, largest=10, evaluations=20)) == 5
    assert coarse_then_fine(lambda factor: 0.0, largest=8, evaluations=8) == 1  # nothing pays: the smallest


# In a run


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

"""Update attacks send what their papers define, and what ByzFL sends where it means the same."""

from __future__ import annotations

from typing import get_args

import byzfl
import numpy as np
import pytest
import torch
from crafting import D, H, M, context, drawn, numpy_rule, one
from oracles import update_attacks as oracles

from clients.attacks.base import CraftContext
from clients.attacks.updates.alie import Alie, OptimalAlie, SparseAlie, z_of
from clients.attacks.updates.anti_cge import AntiCge
from clients.attacks.updates.fang import FangKrum, FangTrimmedMean
from clients.attacks.updates.free_rider import FreeRider
from clients.attacks.updates.ipm import Ipm, OptimalIpm
from clients.attacks.updates.mimic import Mimic
from clients.attacks.updates.min_max import Direction, MinMax, MinSum
from clients.attacks.updates.mpaf import Mpaf
from clients.attacks.updates.poisoned_fl import PoisonedFl
from clients.attacks.updates.rop import Rop
from clients.attacks.updates.simple_updates import (
    GaussianUpdate,
    NonFiniteUpdate,
    RandomUpdate,
    ScaledUpdate,
    SignFlip,
    ZeroUpdate,
)
from clients.kernels import normals


def test_alie_is_the_mean_minus_z_deviations(own, honest):
    expected = oracles.mean(own.numpy()) - 0.7 * oracles.std(own.numpy())
    np.testing.assert_allclose(one(Alie(z=0.7).craft(own, None, context())), expected)


@pytest.mark.parametrize(("n", "f"), [(50, 10), (51, 12), (25, 5), (20, 4), (10, 2), (100, 20)])
def test_the_z_of_alie(n, f):
    assert z_of(None, n, f) == pytest.approx(oracles.alie_z(n, f), abs=1e-9)


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


@pytest.mark.parametrize("direction", get_args(Direction))
def test_min_max_is_the_papers(own, honest, direction):
    sent = MinMax(direction=direction).craft(own, honest, context())
    np.testing.assert_allclose(one(sent), oracles.min_max(honest.numpy(), direction), rtol=1e-6)


@pytest.mark.parametrize("direction", get_args(Direction))
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


def test_fang_krum_ends_if_its_own_updates_are_not_finite(own):
    own[1] = torch.inf
    crafted = FangKrum(knowledge="partial").craft(own, None, context())
    assert bool((crafted.abs() <= FangKrum().threshold).all())


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


@pytest.mark.parametrize("parameters", [{}, {"angle": 35.0, "relocation": 0.3, "blend": 0.6, "z": 2.0}])
def test_rop_is_the_papers_turned_round(own, honest, parameters):
    """Updates are minus the momenta, up to a learning rate that is 1 here."""
    last = drawn(D, seed=6)
    given = context(model=last + 1, previous_model=torch.ones(D, dtype=torch.float64))
    defaults = {"z": z_of(None, M + H, M), "angle": 270.0, "relocation": 1.0, "blend": 0.9}
    expected = -oracles.rop_gradient(-honest.numpy(), -last.numpy(), **(defaults | parameters))
    np.testing.assert_allclose(one(Rop(**parameters).craft(own, honest, given)), expected)


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


GENERATOR = np.random.default_rng(5)
OWN = GENERATOR.normal(size=(3, 6))
HONEST = 1 + GENERATOR.normal(size=(7, 6))


def sent(attack, *, omniscient=True, clients=10, malicious=3):
    context = CraftContext(
        generator=torch.Generator().manual_seed(1),
        model=torch.zeros(6, dtype=torch.float64),
        clients=clients,
        malicious=malicious,
    )
    seen = torch.from_numpy(HONEST) if omniscient else None
    return attack.craft(torch.from_numpy(OWN), seen, context).numpy()


@pytest.mark.parametrize("factor", [-10.0, 1.0, 2.5])
def test_scaled_update(factor):
    np.testing.assert_allclose(sent(ScaledUpdate(factor=factor)), oracles.scaled_update(OWN, factor))


def test_sign_flip():
    np.testing.assert_array_equal(sent(SignFlip()), oracles.sign_flip(OWN))


@pytest.mark.parametrize("mode", ["replace", "add"])
@pytest.mark.parametrize("std", [0.0, 1.0, 3.0])
def test_gaussian_update(std, mode):
    noise = normals(torch.zeros(3, 6, dtype=torch.float64), torch.Generator().manual_seed(1)).numpy()
    wanted = oracles.gaussian_update(OWN, noise, std, mode)
    np.testing.assert_allclose(sent(GaussianUpdate(std=std, mode=mode)), wanted)


def test_gaussian_noise_has_the_spread_that_is_asked_for():
    context = CraftContext(generator=torch.Generator().manual_seed(1), model=torch.zeros(20_000))
    noise = GaussianUpdate(std=2.0).craft(torch.ones(1, 20_000), None, context)
    assert abs(float(noise.mean())) < 0.05
    assert abs(float(noise.std()) - 2) < 0.05


@pytest.mark.parametrize(("n", "f"), [(50, 10), (51, 12), (25, 5), (20, 4), (10, 3), (50, 24), (100, 20)])
def test_the_largest_z_of_alie(n, f):
    assert z_of(None, n, f) == pytest.approx(max(0.0, oracles.alie_z(n, f)), abs=1e-9)


@pytest.mark.parametrize("omniscient", [False, True])
@pytest.mark.parametrize(("direction", "correction"), [(-1, 0), (1, 0), (-1, 1), (1, 1)])
def test_alie(omniscient, direction, correction):
    visible = HONEST if omniscient else OWN
    parameters = {"direction": direction, "correction": correction}
    np.testing.assert_allclose(
        sent(Alie(z=1.5, **parameters), omniscient=omniscient), oracles.alie(visible, 3, 1.5, **parameters)
    )
    usual = sent(Alie(**parameters), omniscient=omniscient, clients=50, malicious=12)
    np.testing.assert_allclose(usual, oracles.alie(visible, 3, oracles.alie_z(50, 12), **parameters))


@pytest.mark.parametrize("omniscient", [False, True])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_ipm(omniscient, epsilon):
    visible = HONEST if omniscient else OWN
    np.testing.assert_allclose(
        sent(Ipm(epsilon=epsilon), omniscient=omniscient), oracles.ipm(visible, 3, epsilon)
    )


def test_byzfl_agrees():
    np.testing.assert_allclose(sent(Ipm(epsilon=2.0))[0], byzfl.InnerProductManipulation(tau=2.0)(HONEST))
    # ByzFL adds the deviation, with Bessel's correction; the authors of ALIE subtract it, without.
    ours = sent(Alie(z=1.5, direction=1, correction=1))[0]
    np.testing.assert_allclose(ours, byzfl.ALittleIsEnough(tau=1.5)(HONEST))
    # ByzFL's sign flip sends minus the mean of the honest: ours is minus the own, so ipm it is.
    np.testing.assert_allclose(sent(Ipm(epsilon=1.0))[0], byzfl.SignFlipping()(HONEST))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Ipm(epsilon=1.0), byzfl.SignFlipping()),
        (Ipm(epsilon=2.0), byzfl.InnerProductManipulation(2.0)),
        (Alie(z=1.5, direction=1, correction=1), byzfl.ALittleIsEnough(1.5)),
        (Mimic(node=5), byzfl.Mimic(5)),
        (NonFiniteUpdate(value="inf"), byzfl.Inf()),
    ],
    ids=lambda value: type(value).__name__,
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

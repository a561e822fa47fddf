"""Server optimizers: the papers' definitions, Flower's, and the laws over the registry."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from oracles import pipeline as oracles

from strategies import OPTIMIZERS, optimizers
from strategies.base import RuleCard
from strategies.optimizers import SGD, Adagrad, Adam, Yogi

ROUNDS = 5
INSTANCES = [
    *(kind() for kind in OPTIMIZERS.values()),
    SGD(lr=0.5, momentum=0.0),
    Adam(lr=0.1, beta1=0.5, beta2=0.9, tau=0.1, start=0.0),
    Yogi(lr=0.1, beta1=0.0, start=1e-6),
    Adagrad(beta1=0.9, tau=0.01),
]


def drawn(d=30, dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    return [
        torch.randn(d, generator=generator, dtype=torch.float64).mul(0.1).to(dtype) for _ in range(ROUNDS)
    ]


def play(optimizer, updates):
    steps, state = [], {}
    for update in updates:
        step, state = optimizer(update, {name: kept.clone() for name, kept in state.items()})
        steps.append(step)
    return steps


laws = pytest.mark.parametrize("optimizer", INSTANCES, ids=repr)


@laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_is_fresh_and_of_the_updates_type(optimizer, dtype):
    state = {}
    for update in drawn(dtype=dtype):
        kept, before = update.clone(), {name: value.clone() for name, value in state.items()}
        step, after = optimizer(update, state)
        assert step.dtype == dtype
        assert step.shape == update.shape
        assert torch.equal(update, kept)
        assert all(torch.equal(state[name], value) for name, value in before.items())
        given = {tensor.data_ptr() for tensor in (update, *state.values())}
        assert not given & {tensor.data_ptr() for tensor in (step, *after.values())}
        assert len({tensor.data_ptr() for tensor in (step, *after.values())}) == 1 + len(after)
        state = after


@laws
def test_the_same_comes_out_twice_and_from_a_copy(optimizer):
    first = play(optimizer, drawn())
    again = play(deepcopy(optimizer), drawn())
    assert all(map(torch.equal, first, again))


@laws
def test_coordinates_do_not_see_each_other(optimizer):
    updates = drawn()
    order = torch.randperm(len(updates[0]), generator=torch.Generator().manual_seed(1))
    shuffled = play(optimizer, [update[order] for update in updates])
    assert all(torch.equal(a[order], b) for a, b in zip(play(optimizer, updates), shuffled, strict=True))


@laws
def test_huge_and_zero_updates_give_finite_steps(optimizer):
    for update in (torch.full((3,), 1e25), torch.zeros(3)):
        assert all(bool(step.isfinite().all()) for step in play(optimizer, [update] * 3))


@laws
def test_a_step_goes_the_way_of_the_first_update(optimizer):
    (step,) = play(optimizer, drawn()[:1])
    assert torch.equal(step.sign(), drawn()[0].sign())


def test_every_optimizer_is_registered():
    found = {kind for kind in vars(optimizers).values() if isinstance(getattr(kind, "card", None), RuleCard)}
    assert set(OPTIMIZERS.values()) == found
    assert list(OPTIMIZERS) == sorted(OPTIMIZERS)
    assert all(kind.__name__.lower() == name for name, kind in OPTIMIZERS.items())


@laws
def test_the_papers_definitions(optimizer):
    updates = drawn(dtype=torch.float64)
    X = [update.numpy() for update in updates]
    if isinstance(optimizer, SGD):
        wanted = oracles.fedavgm(X, optimizer.lr, optimizer.momentum)
    else:
        kind = type(optimizer).__name__.lower()
        beta2 = getattr(optimizer, "beta2", None)
        parameters = {name: getattr(optimizer, name) for name in ("lr", "beta1", "tau", "start")}
        wanted = oracles.adaptive(X, kind, beta2=beta2, **parameters)
    for step, expected in zip(play(optimizer, updates), wanted, strict=True):
        torch.testing.assert_close(step, torch.from_numpy(expected))


def flower_steps(monkeypatch, strategy, updates):
    """Return by how much Flower's strategy moves its model, when the clients' average is the update."""
    flower = pytest.importorskip("flwr.serverapp.strategy")
    from flwr.app import Array, ArrayRecord  # noqa: PLC0415

    model = np.zeros(len(updates[0]), dtype=np.float32)
    steps = []
    for server_round, update in enumerate(updates, start=1):
        average = ArrayRecord({"w": Array(model + update.numpy())})
        monkeypatch.setattr(
            flower.FedAvg, "aggregate_train", lambda self, server_round, replies, a=average: (a, None)
        )
        before = ArrayRecord({"w": Array(model)})
        strategy.current_arrays = before if isinstance(strategy, flower.FedAvgM) else {"w": model}
        arrays, _ = strategy.aggregate_train(server_round, [])
        steps.append(torch.from_numpy(arrays["w"].numpy() - model).float())
        model = arrays["w"].numpy()
    return steps


@pytest.mark.parametrize(
    ("name", "parameters", "ours"),
    [
        ("FedAvgM", {"server_learning_rate": 0.5, "server_momentum": 0.9}, SGD(lr=0.5, momentum=0.9)),
        ("FedYogi", {"eta": 0.1, "tau": 0.01}, Yogi(lr=0.1, tau=0.01, start=0.0)),
        ("FedAdagrad", {"eta": 0.1, "tau": 0.01}, Adagrad(lr=0.1, tau=0.01, start=0.0)),
        ("FedAdam", {"eta": 0.1, "tau": 0.01}, Adam(lr=0.1, tau=0.01, start=0.0)),
    ],
)
def test_flower_agrees(monkeypatch, name, parameters, ours):
    flower = pytest.importorskip("flwr.serverapp.strategy")
    theirs = flower_steps(monkeypatch, getattr(flower, name)(**parameters), drawn())
    for server_round, (step, wanted) in enumerate(zip(play(ours, drawn()), theirs, strict=True), start=1):
        correction = 1.0
        if name == "FedAdam":  # Flower's corrects the bias, counting rounds from 2; the paper's does not
            power = server_round + 1
            correction = (1 - ours.beta2**power) ** 0.5 / (1 - ours.beta1**power)
        torch.testing.assert_close(correction * step, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        (SGD, {"lr": 0.0}, "lr: got 0.0"),
        (SGD, {"momentum": 1.0}, "momentum: got 1.0"),
        (Adam, {"beta1": -0.1}, "beta1: got -0.1"),
        (Adam, {"beta2": 1.0}, "beta2: got 1.0"),
        (Yogi, {"tau": 0.0}, "tau: got 0.0"),
        (Adagrad, {"start": -1.0}, "start: got -1.0"),
        (Adagrad, {"lr": float("inf")}, "lr: got inf"),
    ],
)
def test_impossible_knobs_are_refused(kind, parameters, words):
    with pytest.raises(ValueError, match=words):
        kind(**parameters)

"""Rules whose server sums up updates over rounds follow their papers, for any clients in any round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aggregating import D, close, honest, normal, seeded
from oracles import server_memory as oracles

from strategies.base import Context, InputError
from strategies.rules.byzantine_sgd import ByzantineSGD
from strategies.rules.safeguard import Safeguard
from strategies.rules.sequential_clipping import SequentialClipping
from strategies.rules.sparsefed import SparseFed

CASTS = [(0, 1, 2, 3, 4, 5, 6, 7), (9, 1, 0, 3, 8, 5), (7, 2, 9, 0, 1, 4, 3), (3, 2, 1, 0, 9, 8, 7, 6, 5)]
"""Clients of each round, in the order of their rows."""


def rounds(seed=0, *, attackers=(0, 9)):
    """Yield the number, the clients and the updates of each round. Attackers send the opposite direction."""
    for number, client_ids in enumerate(CASTS, start=1):
        rows = honest(10, seed=10 * seed + number)
        rows[list(attackers)] *= -1 / number
        yield number, client_ids, rows[list(client_ids)]


SAFEGUARDS = [
    {},
    {"long": 2, "bound": 1.2},
    {"short": 2, "long": 3, "bound": 1.1, "reset": True},
    {"short_threshold": 0.5, "long_threshold": 0.6, "reject": "same"},
]


@pytest.mark.parametrize("parameters", SAFEGUARDS, ids=str)
def test_safeguard_is_the_papers_over_several_rounds(parameters):
    rule, state = Safeguard(**parameters), {}
    oracle = oracles.Safeguard(
        (rule.short, rule.long),
        rule.bound,
        (rule.short_threshold, rule.long_threshold),
        same=rule.reject == "same",
        reset=rule.reset,
    )
    for number, client_ids, rows in rounds():
        result = rule(rows, None, Context(round=number, client_ids=client_ids, state=state))
        update, used = oracle(rows.numpy(), client_ids)
        close(result.update, update)
        assert ((result.trust > 0).numpy() == used).all()
        state = result.state
    assert oracle.bad


def test_safeguard_finds_in_the_window_what_no_single_round_shows():
    """Each round, the attackers are within the clients' spread, but always on the same side."""
    rule, state = Safeguard(short=1, long=12, bound=1.7), {}
    kept = []
    for number in range(1, 13):
        rows = normal(12, D, seed=number)
        rows[9:] = rows[9:] + 0.8
        result = rule(rows, None, Context(round=number, state=state))
        state = result.state
        kept.append((result.trust > 0).tolist())
    assert kept[1] == [True] * 12
    assert kept[-1] == [True] * 9 + [False] * 3


def test_safeguard_keeps_the_model_if_no_client_is_good():
    first = Safeguard(reject="same", bound=1e-9)(honest(4))
    assert int((first.trust > 0).sum()) == 1
    kept = first.state["good"].nonzero().flatten().tolist()
    without = tuple(client for client in range(4) if client not in kept)
    result = Safeguard()(honest(3), None, Context(round=2, client_ids=without, state=first.state))
    assert not bool(result.update.any() or result.trust.any())


@pytest.mark.parametrize("windows", [(0, 3), (4, 3)])
def test_safeguards_windows_are_checked(windows):
    with pytest.raises(ValueError, match="expected 1 <= short <= long"):
        Safeguard(short=windows[0], long=windows[1])


@pytest.mark.parametrize(
    "parameters",
    [{}, {"average": "good"}, {"deviation": 0.9}, {"deviation": 1.2, "diameter": 0.2, "failure": 0.5}],
    ids=str,
)
def test_byzantine_sgd_is_the_papers_over_several_rounds(parameters):
    rule, oracle, state = ByzantineSGD(**parameters), oracles.ByzantineSGD(**parameters), {}
    model = normal(D, seed=5)
    for number, client_ids, rows in rounds():
        context = Context(round=number, client_ids=client_ids, model=model, state=state)
        result = rule(rows, None, context)
        update, good = oracle(rows.numpy(), client_ids, model.numpy())
        close(result.update, update)
        assert ((result.trust > 0).numpy() == good).all()
        state, model = result.state, model + result.update
    assert oracle.bad


def test_byzantine_sgd_finds_a_sum_that_no_single_round_shows():
    rule, state = ByzantineSGD(failure=0.9), {}
    for number in range(1, 81):
        rows = normal(12, D, seed=number)
        rows[9:] = rows[9:] + 1.1
        result = rule(rows, None, Context(round=number, state=state, model=torch.zeros(D).double()))
        state = result.state
        if number == 1:
            assert bool((result.trust > 0).all())
    assert (result.trust > 0).tolist() == [True] * 9 + [False] * 3


def test_byzantine_sgd_without_a_model_is_an_error():
    with pytest.raises(InputError, match="model: got none"):
        ByzantineSGD()(honest(5))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("kept", [0.1, 0.5])
def test_sparsefed_is_the_papers_over_several_rounds(kept, momentum):
    rule, state = SparseFed(kept=kept, clip=1.5, momentum=momentum), {}
    oracle = oracles.SparseFed(kept, 1.5, momentum, D)
    for number, client_ids, rows in rounds():
        result = rule(rows, None, Context(round=number, client_ids=client_ids, state=state))
        close(result.update, oracle(rows.numpy()))
        assert int((result.update != 0).sum()) == int(kept * D)
        state = result.state


def test_sparsefed_applies_one_coordinate_at_least():
    assert int((SparseFed(kept=1e-6)(honest(5)).update != 0).sum()) == 1


@pytest.mark.parametrize("extended", ["no", "moving", "fixed"])
@pytest.mark.parametrize("reference", ["moving", "both"])
@pytest.mark.parametrize("clip", ["mean", "each"])
def test_sequential_clipping_is_the_papers(clip, reference, extended):
    parameters = {"tau": 0.7, "clip": clip, "reference": reference, "extended": extended, "iterations": 2}
    rule = SequentialClipping(**parameters)
    state, centre = {}, np.zeros(D)
    for number, client_ids, rows in rounds():
        context = Context(round=number, client_ids=client_ids, state=state, generator=seeded(number))
        result = rule(rows, None, context)
        generator = seeded(number)
        length = np.linalg.norm(centre) or 1
        cosines = torch.tensor([row @ centre / np.linalg.norm(row) / length for row in rows.numpy()])
        passes = [[bucket.tolist() for bucket in rule.buckets(cosines, generator)] for _ in range(2)]
        centre = oracles.sequential_clipping(rows.numpy(), centre, passes, **parameters)
        close(result.update, centre)
        state = result.state


@pytest.mark.parametrize("n", [1, 2, 7, 9, 20])
def test_a_bucket_has_one_client_of_each_cluster(n):
    cosines = torch.linspace(-1, 1, n).double()
    buckets = [sorted(bucket.tolist()) for bucket in SequentialClipping().buckets(cosines, seeded())]
    assert sorted(row for bucket in buckets for row in bucket) == list(range(n))
    assert len(buckets) == -(-n // 3)
    clusters = [cluster.tolist() for cluster in torch.arange(n).tensor_split(3)]
    for bucket in buckets:
        assert all(len({*bucket} & {*cluster}) <= 1 for cluster in clusters)


def test_sequential_clipping_bounds_the_step_of_each_bucket():
    rows = honest(9)
    rows[0] = 1e9
    result = SequentialClipping(tau=0.5)(rows, None, Context(generator=seeded()))
    assert float(result.update.norm()) <= 3 * 0.5 + 1e-6
    assert float(result.trust[0]) < 1e-8

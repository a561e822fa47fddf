import logging
import random

import pytest
import torch
from threats import but

from clients.attacks.base import NoAttack
from fedpoison.errors import AggregationError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.simulation.run import run_federation


def test_the_malicious_nodes_depend_on_the_seed_alone(small, digits):
    plain = Federation(small, digits).selection.malicious(1)
    assert len(plain) == 2
    other = small.replace(attack="label-flip", strategy="median", rounds=9)
    assert Federation(other, digits).selection.malicious(1) == plain
    assert any(
        Federation(small.replace(seed=seed), digits).selection.malicious(1) != plain for seed in (1, 2, 3)
    )


def test_an_explicit_list_decides(small, digits):
    assert Federation(small.replace(malicious_nodes=(1, 4, 9)), digits).selection.malicious(1) == {1, 4, 9}


def test_samples_and_initial_weights_depend_on_the_seed_alone(small, digits):
    one, two = Federation(small, digits), Federation(small.replace(attack="alie", clients=20), digits)
    assert torch.equal(one.initial, two.initial)
    assert torch.equal(one.train.images, two.train.images)
    assert not torch.equal(one.initial, Federation(small.replace(seed=1), digits).initial)


def test_building_a_model_leaves_the_global_stream_alone(small, digits):
    before = torch.random.get_rng_state()
    assert Federation(small, digits).initial.isfinite().all()
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_round_samples_its_share_of_the_nodes(small, digits):
    federation = Federation(small.replace(participation=0.4), digits)
    samples = [federation.selection.sample(number) for number in range(1, 20)]
    assert all(len(set(client_ids)) == 4 and client_ids == sorted(client_ids) for client_ids in samples)
    assert len({tuple(client_ids) for client_ids in samples}) > 10


def test_only_malicious_nodes_are_given_the_attack(small, digits):
    federation = Federation(small.replace(attack="label-flip"), digits)
    for client_id in range(10):
        job = federation.job(client_id, 1, federation.initial, None, {})
        assert isinstance(job.attack, NoAttack) == (client_id not in federation.selection.malicious(1))
        assert job.examples == len(job.own()) == 40


def test_ranks_number_the_malicious_nodes(small, digits):
    federation = Federation(small.replace(malicious_nodes=(7, 2)), digits)
    contexts = [federation.job(client_id, 1, federation.initial, None, {}).context for client_id in (2, 7)]
    assert [(context.rank, context.size) for context in contexts] == [(0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attack": "label-flip(mode=targeted, target=12)"}, "target: got class 12, expected 0 to 9"),
        ({"attack": "backdoor(target=10)"}, "target: got class 10"),
        ({"attack": "backdoor(size=20)"}, "trigger hides 51% of an image of 28x28, expected at most 50%"),
        ({"attack": "blended(alpha=1.0)+scaled-update"}, "trigger hides 100% of an image"),
        ({"attack": "distributed-backdoor(offset=40)"}, "trigger: got length 4, gap 2, offset 40"),
        ({"train_samples": 5000}, "train_samples: got 5000, expected at most 1442"),
        ({"clients": 401}, "got 400 samples, expected at least 401"),
        (
            {"attack": "tailored", "strategy": "flwr:FedMedian"},
            "needs the server's rule, and Flower's strategies have none",
        ),
        (
            {"strategy": "monna(trusted=3)", "participation": 0.9},
            r"strategy monna\(trusted=3\), round .*: .* gets no update of client 3, expected one in every",
        ),
        ({"dropout_seed": 1, "model": "mlp"}, "dropout_seed: got 1 for the model mlp"),
        ({"lr": 1e39}, r"lr: got 1e\+39, expected at most 3.4e\+38"),
        ({"weight_decay": 1e300}, r"weight_decay: got 1e\+300"),
        ({"proximal": 1e300}, r"proximal: got 1e\+300"),
    ],
)
def test_what_does_not_fit_is_refused(small, digits, changes, words):
    with pytest.raises(ScenarioError, match=words):
        Federation(small.replace(**changes), digits)


def test_malicious_nodes_can_hold_a_partition_of_their_own(small, digits):
    federation = Federation(small.replace(partition="sorted", malicious_partition="iid"), digits)
    labels, malicious = federation.train.labels, federation.selection.malicious(1)
    honest = [part for client_id, part in enumerate(federation.parts) if client_id not in malicious]
    assert torch.cat(honest).sort().values.tolist() == list(range(400))
    assert {len(part) for part in federation.parts} == {50}
    for client_id, part in enumerate(federation.parts):
        classes = len(labels[part].unique())
        assert classes >= 7 if client_id in malicious else classes <= 3


def test_such_a_partition_may_have_to_be_dealt_more_than_once(small, digits):
    federation = Federation(small.replace(malicious=0.8, malicious_partition="iid"), digits)
    assert [len(part) for part in federation.parts] == [200] * 10


@pytest.mark.parametrize("changes", [{"malicious": 1.0}, {"schedule": "rotating"}])
def test_it_wants_honest_nodes_and_malicious_ones_that_stay(small, digits, changes):
    with pytest.raises(ScenarioError, match="malicious_partition: got .* expected at least 1"):
        Federation(small.replace(malicious_partition="iid", **changes), digits)


def test_a_strategy_of_flower_that_overflows_is_an_error_without_a_warning(small, digits):
    scenario = small.replace(strategy="flwr:FedYogi", attack="scaled-update(factor=1e37)", rounds=2)
    with pytest.raises(AggregationError, match="flwr:FedYogi gave a model that contains NaN"):
        run_federation(Federation(scenario, digits))


def test_a_strategy_of_flower_neither_draws_from_the_global_stream_nor_logs(small, digits, caplog):
    before = random.getstate()
    with caplog.at_level(logging.WARNING, logger="flwr"):
        notices = []
        federation = Federation(small.replace(strategy="flwr:FedProx", rounds=1), digits)
        run_federation(federation, notify=notices.append)
    assert random.getstate() == before
    assert caplog.messages == []
    assert notices == ["the strategy flwr:FedProx is FedAvg: proximal_mu is 0"]
    assert not Federation(small.replace(strategy="flwr:FedProx(proximal_mu=0.1)"), digits).warnings


@pytest.mark.parametrize(
    ("changes", "rounds"),
    [
        ({"strategy": "monna"}, "2 of 3 rounds (client 0 in round 2)"),
        ({"strategy": "monna(trusted=4)"}, "2 of 3 rounds (client 4 in round 2)"),
        ({"strategy": "nnm | monna"}, "2 of 3 rounds (client 0 in round 2)"),
        ({"strategy": "monna(trusted=1)"}, None),
        ({"strategy": "monna", "malicious_nodes": (3, 4)}, None),
        ({"strategy": "bucketing | monna"}, None),
        ({"strategy": "krum"}, None),
        ({"strategy": "flwr:FedMedian"}, None),
    ],
)
def test_trust_in_an_attacking_client_is_noted(small, digits, changes, rounds):
    attacked = {"malicious_nodes": (0, 4), "attack": "ipm", "schedule": "window(start=2)"}
    notes = Federation(but(small, **attacked | changes), digits).warnings
    found = [note for note in notes if "trusts a client that attacks" in note]
    assert len(found) == (rounds is not None)
    if rounds is not None:
        assert rounds in found[0]

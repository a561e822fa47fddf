"""The same scenario gives the same weights, bit for bit, however it is run; what cannot be is refused."""

import json
import math

import pytest
import torch
from conftest import Stopped, stop_after

from fedpoison.engines.options import EngineOptions
from fedpoison.errors import ScenarioError
from fedpoison.results.store import StoredRun
from fedpoison.simulation.run import simulate


def final(scenario, out, **options):
    history = simulate(scenario, out=out, **options)
    weights = StoredRun(history.path).weights()
    return torch.cat([weights[name].reshape(-1) for name in sorted(weights)])


def records(scenario, out, **options):
    path = simulate(scenario, out=out, **options).path
    lines = [json.loads(line) for line in (path / "rounds.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["training"].pop("seconds")
    return lines


@pytest.fixture
def lively(small):
    """A scenario in which everything that draws is at work."""
    return small.replace(
        attack="backdoor+gaussian-update(mode=add, std=0.01)",
        strategy="trimmed-mean",
        participation=0.8,
        partition="dirichlet(alpha=0.5)",
        momentum=0.9,
        persistent_momentum=True,
        proximal=0.1,
    )


@pytest.fixture
def crowded(lively):
    """A scenario with groups that attack at different times, one of them under changing names."""
    return lively.replace(
        attack="none",
        groups=[
            "backdoor+gaussian-update(mode=add, std=0.01): count=2, per_round=1, schedule=rotating(every=2)",
            "ipm: share=0.1, schedule=window(start=2), knowledge=colluding",
        ],
    )


def test_groups_and_schedules_do_not_change_with_workers_and_cohorts(crowded, tmp_path):
    expected = records(crowded, tmp_path / "reference", workers=1, clients_per_task=1)
    assert [line["training"]["groups"][1]["acted"] for line in expected[1:]] == [False, True, True]
    assert records(crowded, tmp_path / "other", workers=2, clients_per_task=7) == expected


def test_workers_and_cohorts_do_not_change_a_bit(lively, tmp_path):
    expected = final(lively, tmp_path / "reference", workers=1, clients_per_task=1)
    for workers in (1, 2):
        for clients_per_task in (1, 7, 100):
            weights = final(
                lively,
                tmp_path / f"{workers}-{clients_per_task}",
                workers=workers,
                clients_per_task=clients_per_task,
            )
            assert torch.equal(weights, expected), (workers, clients_per_task)


def test_the_convolutional_network_is_deterministic_too(small, tmp_path):
    scenario = small.replace(model="cnn", rounds=1)
    assert torch.equal(
        final(scenario, tmp_path / "one", workers=1),
        final(scenario, tmp_path / "two", workers=2, clients_per_task=3),
    )


def test_the_same_seed_gives_the_same_records(lively, tmp_path):
    assert records(lively, tmp_path / "one") == records(lively, tmp_path / "two")


def test_another_seed_gives_other_records(lively, tmp_path):
    assert records(lively, tmp_path / "one") != records(lively.replace(seed=1), tmp_path / "two")


@pytest.mark.flower
def test_flowers_runtime_continues_a_run_with_the_same_records(crowded, tmp_path):
    scenario = crowded.replace(
        clients=4,
        participation=0.75,
        groups=[
            "backdoor+gaussian-update(mode=add, std=0.01): count=1, per_round=1, schedule=rotating",
            "ipm: nodes=(0), schedule=window(start=2), knowledge=colluding",
        ],
        strategy="median",
    )
    seen = []
    here = records(scenario, tmp_path / "local")
    with pytest.raises(Stopped):  # Flower continues this run with round 2
        simulate(scenario, out=tmp_path / "flower", checkpoint_every=1, on_round=stop_after(2))
    there = records(
        scenario, tmp_path / "flower", engine="flower", on_round=lambda record: seen.append(record.round)
    )
    assert there == here
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "strategy",
    [
        "flwr:FedAvg",
        "flwr:FedAdam(eta=0.01)",
        "flwr:FedAvgM",
        "flwr:FedProx(proximal_mu=0.5)",
        "flwr:QFedAvg(client_learning_rate=0.1)",
        "flwr:Krum(num_malicious_nodes=2)",
        "flwr:FedMedian",
    ],
)
def test_flowers_own_strategies_run_as_they_are(small, strategy):
    history = simulate(small.replace(strategy=strategy, rounds=2))
    assert history.last.round == 2
    assert history.last.training.trust is None
    assert history.last.loss != history.records[0].loss


def test_flowers_average_agrees_with_ours(small, tmp_path):
    ours = final(small, tmp_path / "ours")
    theirs = final(small.replace(strategy="flwr:FedAvg"), tmp_path / "theirs")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_flowers_proximal_term_reaches_the_clients(small, tmp_path):
    ours = final(small.replace(proximal=0.5, rounds=1), tmp_path / "ours")
    theirs = final(small.replace(strategy="flwr:FedProx(proximal_mu=0.5)", rounds=1), tmp_path / "theirs")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_what_is_not_evaluated_is_trained_all_the_same(lively, tmp_path):
    every = simulate(lively.replace(rounds=5), out=tmp_path)
    some = simulate(lively.replace(rounds=5, evaluate_every=2), out=tmp_path)
    assert [record.round for record in some.records] == [0, 2, 4, 5]
    for record in some.records:
        assert record.confusion == every.records[record.round].confusion
        assert record.training.sampled == every.records[record.round].training.sampled
    assert {"train", "aggregate", "evaluate"} <= some.last.training.seconds.keys()
    assert some.to_frame().index.tolist() == some.per_class().index.tolist() == [0, 2, 4, 5]
    assert math.isnan(some.recovery_half_life())
    with pytest.raises(ScenarioError, match="got evaluate_every 1, expected 2"):
        some.damage(every)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "Ray"}, "unknown engine 'Ray'.* Choose from flower, local, ray"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"workers": 0}, "workers: got 0, expected at least 1"),
        ({"clients_per_task": -1}, "clients_per_task: got -1, expected at least 1"),
        ({"engine": "ray", "deterministic": True}, "deterministic: got engine ray"),
        ({"ray_address": "auto"}, "got engine local, expected ray"),
        ({"engine": "flower", "workers": 2}, "got engine flower"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ScenarioError, match=words):
        EngineOptions(**options)

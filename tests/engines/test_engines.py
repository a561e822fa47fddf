"""The same scenario gives the same weights, bit for bit, however it is run; what cannot be is refused."""

import json
import math
import time

import pytest
import torch
from conftest import Stopped, stop_after
from flwr.app import Context, RecordDict
from flwr.supercore.run import Run

from fedpoison.engines import flower, server_app
from fedpoison.engines.options import EngineOptions
from fedpoison.errors import EngineError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import count_nodes
from fedpoison.federation.messages import to_run_config
from fedpoison.results.store import StoredRun
from fedpoison.simulation.run import simulate


def final(scenario, out, **options):
    history = simulate(scenario, out=out, **options)
    weights = StoredRun(history.path).weights()
    return torch.cat([weights[name].reshape(-1) for name in sorted(weights)])


def records(scenario, out, **options):
    return timeless(simulate(scenario, out=out, **options).path)


def timeless(path):
    """Return the records of a stored run without their times."""
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
        validation_samples=100,
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
    assert all(line["validation"]["confusion"] for line in there)
    assert seen == [0, 1, 2, 3]


@pytest.mark.flower
def test_flwr_starts_no_superlink_of_its_own_if_that_of_the_run_does_not_answer(tmp_path):
    environment = flower._environment(tmp_path)
    text = flower._flwr_text(["ls", "--format", "json"], environment)
    assert "127.0.0.1" in text
    assert "Starting local SuperLink" not in text
    assert not (tmp_path / "flwr" / "local-superlink").exists()


@pytest.mark.flower
def test_flwr_run_without_clients_trains_one_client_per_node(small, digits, tmp_path):
    federation = Federation(small.replace(clients=100, rounds=1, attack="sign-flip", malicious=0.5), digits)
    app = flower._write_app(tmp_path / "app", federation, tmp_path / "runs", None, None)
    environment = flower._environment(tmp_path)
    with flower._superlink(tmp_path, environment):
        answer = flower._flwr(["run", str(app), "--format", "json"], environment)  # 2 nodes by default
        deadline = time.monotonic() + 120
        while not any((tmp_path / "runs").glob("*/model.safetensors")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        log = flower._flwr_text(["log", answer["run-id"], "--show"], environment)
    used = federation.scenario.replace(clients=2)
    assert "fedpoison: the run has 2 clients, one per SuperNode." in log
    assert timeless(tmp_path / "runs" / used.run_id) == records(used, tmp_path / "local")


class Registering:
    """A grid whose clients register one by one, and the time."""

    def __init__(self, moments, **override):
        self.now, self.moments = 0.0, moments
        self.run = Run.create_empty(1)
        self.run.override_config = override

    def get_node_ids(self):
        self.now += 0.5
        return [number for number, moment in enumerate(self.moments) if moment <= self.now]


@pytest.mark.parametrize(
    ("moments", "expected", "found", "seconds"),
    [
        ([0] * 22 + [1.0] * 78, 100, 100, 1.0),
        ([0] * 22 + [1.0] * 78, None, 100, 7.0),
        ([20.0, 24.0], None, 2, 30.0),
        ([0, 0, 0], 2, 3, 0.5),
        ([0, 0], 100, "2 SuperNodes, expected 100; start 100 SuperNodes, or set clients=2", 6.5),
        ([], None, "got a federation of 0 SuperNodes, expected at least one; start", 61.0),
        ([], 4, "got a federation of 0 SuperNodes, expected 4; start SuperNodes", 61.0),
    ],
)
def test_nodes_are_counted_until_no_more_come(monkeypatch, moments, expected, found, seconds):
    monkeypatch.setattr("fedpoison.federation.grids.POLL", 0)
    grid = Registering(moments)
    if isinstance(found, int):
        assert count_nodes(grid, expected, clock=lambda: grid.now) == found
    else:
        with pytest.raises(EngineError, match=found):
            count_nodes(grid, expected, clock=lambda: grid.now)
    assert grid.now <= seconds


def test_too_few_nodes_for_the_clients_that_are_set_are_named_in_the_log(
    small, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("fedpoison.federation.grids.QUIET", 0.0)
    config = to_run_config(small.replace(clients=4), out=str(tmp_path))
    context = Context(1, 0, {}, RecordDict(), config)
    with pytest.raises(EngineError, match="got a federation of 2 SuperNodes, expected 4"):
        server_app.main(Registering([0, 0], clients=4), context)
    assert "fedpoison: error: got a federation of 2 SuperNodes, expected 4" in capsys.readouterr().out


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

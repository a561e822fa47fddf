"""One round again under other strategies, without any training."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from clients.training.parameters import flatten
from fedpoison.errors import RunError, ScenarioError
from fedpoison.federation.evaluation import evaluate
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers
from fedpoison.results import metrics as measures
from fedpoison.results.history import History
from fedpoison.results.store import StoredRun
from fedpoison.scenario.aggregation import build_aggregation
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.replay import replay
from fedpoison.simulation.run import simulate
from fedpoison.simulation.saved_updates import SavedUpdates, saved_rounds


@pytest.fixture
def scenario(small) -> Scenario:
    """Unequal clients of which some rest in every round, so that rows, nodes and weights all differ."""
    return small.replace(
        clients=12,
        participation=0.75,
        malicious_nodes=(1, 4, 9),
        attack="scaled-update",
        partition="dirichlet(alpha=1)",
        strategy="trimmed-mean",
    )


@pytest.fixture
def saved(scenario, tmp_path) -> History:
    return simulate(scenario, out=tmp_path, keep_updates=range(1, 4))


def final_weights(history: History) -> torch.Tensor:
    weights = StoredRun(history.path).weights()
    return flatten(weights[name] for name, _ in Federation.load(history.scenario).layout)


@pytest.mark.parametrize("strategy", ["fedavg", "trimmed-mean", "bucketing | median", "fltrust", "weak-dp"])
def test_the_runs_own_strategy_gives_the_runs_own_round(scenario, tmp_path, strategy):
    history = simulate(scenario.replace(strategy=strategy), out=tmp_path, keep_updates=[2, 3])
    for server_round in (2, 3):
        found = replay(history.path, server_round, [strategy], influence=False)
        (result,) = found.results
        assert found.actual == history.records[server_round]
        assert result.record.confusion == found.actual.confusion
        assert result.record.triggered == found.actual.triggered
        assert result.trust == found.actual.training.trust
        assert result.rates == measures.trust_rates(
            found.actual.training.trust, found.saved.attacking_clients
        )
        assert found.saved.attacking_clients == found.actual.training.acting
        assert not result.from_empty_state
    assert torch.equal(result.weights, final_weights(history))


def test_each_round_keeps_what_its_own_nodes_sent(saved):
    folder = StoredRun(saved.path)
    for record in saved.records[1:]:
        of_round = SavedUpdates.read(folder.path, record.round)
        assert of_round.nodes.tolist() == record.training.sampled
        norms = torch.linalg.vector_norm(of_round.updates, dim=1).tolist()
        assert norms == pytest.approx(list(record.training.update_norms.values()), rel=1e-5)
    assert of_round.weights.unique().numel() > 1
    assert saved_rounds(folder.path) == [1, 2, 3]
    assert folder.updates_of(1).stat().st_mode == folder.rounds.stat().st_mode


def test_the_influence_is_that_of_leaving_each_client_out(saved):
    (result,) = replay(saved.path, 2, ["fedavg"]).results
    of_round = SavedUpdates.read(saved.path, 2)
    federation = Federation.load(saved.scenario)
    rule = build_aggregation("fedavg", byzantine=3)
    n = len(of_round.nodes)
    rows = []
    with Workers(federation.model, saved.scenario.training, 1) as workers:

        def shares(members):
            update = rule(of_round.updates[members], of_round.weights[members]).update
            counts, _ = evaluate(of_round.model + update, federation.test, workers)
            return [*measures.per_class_accuracy(counts), measures.accuracy(counts)]

        whole = np.array(shares(list(range(n))))
        rows = [whole - shares([other for other in range(n) if other != row]) for row in range(n)]
    wanted = pd.DataFrame(rows, index=of_round.nodes.tolist(), columns=[*range(10), "all"])
    pd.testing.assert_frame_equal(result.influence.rename_axis(None), wanted, check_exact=True)
    assert (
        result.influence.loc[of_round.attacking_clients, "all"].max() < 0
    )  # scaled-update drives the mean off


def test_the_callback_counts_the_aggregates_of_each_strategy(saved):
    seen = []
    replay(saved.path, 2, ["median", "fedavg"], on_aggregate=lambda *news: seen.append(news))
    n = len(SavedUpdates.read(saved.path, 2).nodes)
    assert seen == [(name, done, n + 1) for name in ("median", "fedavg") for done in range(1, n + 2)]
    seen.clear()
    replay(saved.path, 2, ["median"], influence=False, on_aggregate=lambda *news: seen.append(news))
    assert seen == [("median", 1, 1)]


def test_whom_a_rule_does_not_pick_has_no_influence_on_it(saved):
    (result,) = replay(saved.path, 3, ["krum(byzantine=2)"]).results
    (picked,) = set(result.trust) - set(result.rejected)
    others = result.influence.drop(index=picked)
    assert (others == 0).to_numpy().any(axis=1).sum() >= len(others) // 2
    assert result.rates[0] == 1


def test_the_influence_is_unknown_where_the_rule_needs_every_client(saved):
    (result,) = replay(saved.path, 1, ["krum(byzantine=3)"]).results
    assert result.influence.isna().all(axis=None)
    assert result.influence.index.tolist() == result.record.training.sampled


def test_a_rule_with_a_memory_begins_without_one_and_says_so(scenario, tmp_path):
    strategy = "fedavg | adam(lr=0.01)"
    history = simulate(scenario.replace(strategy=strategy, attack="none"), out=tmp_path, keep_updates=[1, 2])
    first, second = (replay(history.path, number, [strategy], influence=False) for number in (1, 2))
    assert not first.results[0].from_empty_state
    assert first.results[0].record.confusion == first.actual.confusion
    assert second.results[0].from_empty_state
    assert second.results[0].record.loss != second.actual.loss


def test_the_success_of_the_attack_is_measured_where_its_trigger_is_known(scenario, tmp_path):
    for attack, known in (("backdoor", True), ("adaptive-trigger", False)):
        history = simulate(scenario.replace(attack=attack), out=tmp_path, keep_updates=[3])
        (result,) = replay(history.path, 3, ["trimmed-mean"], influence=False).results
        assert history.last.attack_success_rate is not None
        assert result.record.attack_success_rate == (history.last.attack_success_rate if known else None)


def test_saving_changes_nothing_and_the_same_result_keeps_the_updates(saved, scenario, tmp_path):
    weights = final_weights(saved)
    again = simulate(scenario, out=tmp_path)
    assert torch.equal(final_weights(again), weights)
    assert saved_rounds(again.path) == [1, 2, 3]
    shutil.rmtree(StoredRun(again.path).updates)
    with pytest.raises(RunError, match=r"round 2 were not saved \(saved rounds: none\).*--keep-updates 2"):
        replay(again.path, 2, ["krum"])


@pytest.mark.ray
def test_ray_keeps_the_same(saved, scenario, tmp_path, shared_ray):
    other = simulate(scenario, out=tmp_path / "ray", engine="ray", workers=1, keep_updates=[2])
    here, there = SavedUpdates.read(saved.path, 2), SavedUpdates.read(other.path, 2)
    assert here.model_buffers == there.model_buffers == here.buffers == there.buffers == {}
    for name, value in vars(here).items():
        if not isinstance(value, dict):
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(getattr(there, name))), name


@pytest.mark.parametrize("number", [0, 4])
def test_a_round_that_is_not_in_the_run_is_refused(small, tmp_path, number):
    with pytest.raises(ScenarioError, match=f"got round {number}, expected rounds from 1 to 3"):
        simulate(small, out=tmp_path, keep_updates=[1, number])


@pytest.mark.parametrize("settings", [{}, {"engine": "flower"}], ids=["no-store", "flower"])
def test_updates_are_kept_only_where_there_is_a_place_for_them(small, tmp_path, settings):
    where = {"out": tmp_path} if settings else {}
    with pytest.raises(ScenarioError, match="expected a run store, and engine local or ray"):
        simulate(small, keep_updates=[1], **settings, **where)


def test_what_cannot_be_replayed_is_refused(saved, tmp_path):
    with pytest.raises(RunError, match=r"round 9 were not saved \(saved rounds: 1, 2, 3\)"):
        replay(saved.path, 9, ["krum"])
    with pytest.raises(RunError, match="contains no run"):
        replay(tmp_path / "nowhere", 1, ["krum"])
    with pytest.raises(ScenarioError, match="strategies of Flower cannot be replayed"):
        replay(saved.path, 1, ["flwr:FedAvg"])
    with pytest.raises(RunError, match=r"krum\(byzantine=7\), round 1: .*needs n > 2f \+ 2"):
        replay(saved.path, 1, ["krum(byzantine=7)"])
    StoredRun(saved.path).updates_of(1).write_bytes(b"nonsense")
    with pytest.raises(RunError, match="does not contain the updates of a round"):
        replay(saved.path, 1, ["krum"])


def test_a_full_disk_stops_the_run_with_a_reason(small, tmp_path):
    folder = tmp_path / small.run_id / "updates"

    def block(record):
        if record.round == 1:
            folder.write_text("not a folder")

    with pytest.raises(RunError, match="cannot be written"):
        simulate(small, out=tmp_path, on_round=block, keep_updates=[2])

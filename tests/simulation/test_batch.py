"""Many runs at once give what each gives alone, and a run that fails takes no other with it."""

from dataclasses import dataclass
from typing import ClassVar

import psutil
import pytest
import ray
import torch

from clients import ATTACKS
from clients.attacks.base import Attack, AttackCard
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import StoredRun
from fedpoison.simulation.batch import BatchCallbacks, batch_runner, run_all
from fedpoison.simulation.run import simulate


@dataclass(frozen=True, kw_only=True)
class NoneLeft(Attack):
    """Send NaN, so that the server has too few updates to aggregate."""

    card: ClassVar = AttackCard(paper="-")

    def craft(self, own, seen, context):
        return torch.full_like(own, torch.nan)


@pytest.fixture
def scenarios(small):
    return [
        small.replace(attack=attack, seed=seed, rounds=2)
        for attack in ("none", "sign-flip")
        for seed in (0, 1)
    ]


def counts(history):
    return [record.confusion for record in history.records]


@pytest.mark.ray
def test_runs_in_tasks_give_what_they_give_alone(scenarios, tmp_path, shared_ray):
    started, rounds, ended = [], [], []
    callbacks = BatchCallbacks(
        on_start=lambda scenario: started.append(scenario.run_id),
        on_round=lambda scenario, record: rounds.append((scenario.run_id, record.round)),
        on_end=lambda scenario, result: ended.append((scenario.run_id, result.last.round)),
    )
    batch = run_all([*scenarios, scenarios[0]], out=tmp_path, jobs=2, callbacks=callbacks)
    assert not batch.failures
    assert sorted(started) == sorted(scenario.run_id for scenario in scenarios)
    assert sorted(rounds) == sorted((run, number) for run in started for number in (0, 1, 2))
    assert sorted(ended) == sorted((run, 2) for run in started)
    for scenario in scenarios:
        assert counts(batch.histories[scenario]) == counts(simulate(scenario)), scenario
        assert (tmp_path / scenario.run_id / "model.safetensors").is_file()
    again = run_all(scenarios, out=tmp_path, callbacks=BatchCallbacks(on_start=pytest.fail))
    assert {scenario: counts(history) for scenario, history in again.histories.items()} == {
        scenario: counts(history) for scenario, history in batch.histories.items()
    }


@pytest.mark.ray
def test_runs_that_follow_find_the_same_ray(scenarios, tmp_path, no_ray):
    """So that a search in many steps starts it once; and it is gone when the search is."""
    with batch_runner(out=tmp_path, jobs=2) as run_more:
        homes = []
        for asked in (scenarios[:2], scenarios[2:]):
            assert not run_more(asked).failures
            assert ray.is_initialized()
            homes.append(ray.get_runtime_context().gcs_address)
    assert len(set(homes)) == 1
    assert not ray.is_initialized()


def tasks():
    """Return the processes in which Ray executes a task of this process."""
    started = psutil.Process().children(recursive=True)
    return [process for process in started if "ray::stream_rounds" in " ".join(process.cmdline())]


@pytest.mark.ray
def test_a_lost_process_costs_only_time(scenarios, tmp_path, shared_ray):
    """Kill the processes of the tasks in the middle of their runs: the runs are made again, all the same."""
    killed = []

    def kill(_, record):
        if record.round == 1 and not killed:
            killed.extend(tasks())
            for process in killed:
                process.kill()

    longer = [scenario.replace(rounds=20) for scenario in scenarios[:2]]
    batch = run_all(longer, out=tmp_path, jobs=2, callbacks=BatchCallbacks(on_round=kill))
    assert killed
    assert not batch.failures
    for scenario in longer:
        assert counts(batch.histories[scenario]) == counts(simulate(scenario))


def test_a_run_that_has_to_stop_takes_no_other_with_it(small, tmp_path, monkeypatch):
    monkeypatch.setitem(ATTACKS, "none-left", NoneLeft)
    bad = small.replace(attack="none-left", strategy="krum", malicious=0.3, tolerated=3, rounds=2)
    batch = run_all([bad, small], out=tmp_path, jobs=1)
    assert list(batch.histories) == [small]
    assert batch.aggregation_failed == [bad]
    assert "needs n > 2f + 2" in batch.failures[bad].reason
    assert StoredRun(tmp_path / bad.run_id).failure == batch.failures[bad]


@pytest.mark.ray
def test_a_task_that_has_to_stop_says_why(small, tmp_path, shared_ray):
    bad = small.replace(
        strategy="krum", participation=0.9, tolerated=3, attack="gaussian-update(std=3e38)", rounds=2
    )
    RunWriter.begin(tmp_path / bad.run_id, bad, {})
    left = StoredRun(tmp_path / bad.run_id)
    left.rounds.write_text("an earlier run's")
    left.model.write_bytes(b"an earlier run's")
    batch = run_all([bad, small.replace(rounds=1)], out=tmp_path, jobs=2, fresh=True)
    assert len(batch.histories) == 1
    assert batch.aggregation_failed == [bad]
    assert "needs n > 2f + 2" in batch.failures[bad].reason
    assert not left.complete
    assert left.failure == batch.failures[bad]
    assert [record.round for record in left.history.records] == [0]

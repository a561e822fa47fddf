"""The federation on Ray: the same bits as in this process, whatever happens to its workers."""

import json
import signal

import pytest
import ray
import torch
from conftest import Stopped, stop_after
from ray.cluster_utils import Cluster

from fedpoison.engines import ray as ray_engine
from fedpoison.engines.ray_session import ray_session
from fedpoison.errors import CrashError, EngineError
from fedpoison.results.store import StoredRun
from fedpoison.simulation.run import simulate

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("no_ray")]


SABOTEUR = """
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from clients.attacks.base import Attack, AttackCard


@dataclass(frozen=True, kw_only=True)
class Saboteur(Attack):
    '''Counts its rounds; in the second it ends a process, once or always, or raises.'''

    marker: str = ""
    ends: str = "self"

    card: ClassVar = AttackCard(paper="-")

    def train(self, trainer, samples, context):
        context.memory["count"] = context.memory.get("count", torch.zeros(())) + 1
        if context.round == 2:
            if self.ends == "nothing":
                raise ValueError(f"counted {int(context.memory['count'])}")
            if self.ends == "always" or not Path(self.marker).exists():
                Path(self.marker).touch()
                os.kill(os.getppid() if self.ends == "machine" else os.getpid(), signal.SIGKILL)
                signal.pause()  # a machine that is gone takes its workers with it
        return super().train(trainer, samples, context) + float(context.memory["count"])
"""


@pytest.fixture(scope="module", autouse=True)
def saboteur(tmp_path_factory):
    """An attack of another package, which workers find on the path of this process."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "saboteur.py").write_text(SABOTEUR)
    information = folder / "saboteur-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: saboteur\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[fedpoison.attacks]\nsaboteur = saboteur:Saboteur\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.fixture(scope="module")
def cluster(_shared_ray):
    """A cluster of two machines, one of which is `away` from this process."""
    _shared_ray.close()  # a process has one Ray
    seen_gone = {"health_check_period_ms": 500, "health_check_initial_delay_ms": 500}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": seen_gone}
    cluster = Cluster(head_node_args=head, initialize_head=True)
    cluster.add_node(num_cpus=1, resources={"away": 1})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def lively(small):
    """A scenario in which everything that draws is at work, and nodes remember."""
    return small.replace(
        groups=[
            "adaptive-trigger: nodes=(8)",
            "backdoor+gaussian-update(mode=add, std=0.01): count=2, per_round=1, schedule=rotating(every=2)",
            "ipm: share=0.1, schedule=window(start=2), knowledge=colluding",
            "saboteur(marker=/): nodes=(9)",
        ],
        strategy="trimmed-mean",
        tolerated=3,
        participation=0.8,
        validation_samples=100,
        partition="dirichlet(alpha=0.5)",
        momentum=0.9,
        persistent_momentum=True,
        proximal=0.1,
    )


def outcome(scenario, out, **options):
    """Return the final weights and the records, without what the clock adds."""
    history = simulate(scenario, out=out, **options)
    lines = [json.loads(line) for line in (history.path / "rounds.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["training"].pop("seconds")
    return StoredRun(history.path).weights(), lines


def assert_same(one, other):
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])


@pytest.mark.parametrize(("workers", "clients_per_task"), [(1, 3), (2, 1), (2, 100)])
def test_a_cluster_gives_the_same_bits_as_this_process(lively, cluster, tmp_path, workers, clients_per_task):
    started_here = clients_per_task == 1
    here = outcome(lively, tmp_path / "here")
    if started_here:  # the cluster continues this run with round 2
        with pytest.raises(Stopped):
            simulate(lively, out=tmp_path / "there", checkpoint_every=1, on_round=stop_after(2))
    options = {
        "engine": "ray",
        "ray_address": cluster.address,
        "workers": workers,
        "clients_per_task": clients_per_task,
    }
    assert_same(outcome(lively, tmp_path / "there", **options), here)
    assert not ray.is_initialized()
    (written,) = (tmp_path / "there").glob("*/environment.json")
    environment = json.loads(written.read_text())
    actors = 1 if clients_per_task == 100 else workers  # never more than cohorts
    assert [each["after_round"] for each in environment.get("continued", [])] == [1] * started_here
    latest = environment["continued"][0] if started_here else environment
    assert (latest["engine"], latest["workers"]) == ("ray", actors)
    assert started_here or environment["ray"] == {
        "actors": actors,
        "resources": {"CPU": 1},
        "machines": 2,
        "address": cluster.address,
    }


def test_an_attack_that_raises_in_a_worker_stops_the_run(small, cluster):
    scenario = small.replace(groups=["saboteur(ends=nothing): nodes=(4, 8)"])
    with pytest.raises(CrashError, match=r"round 2, client 4, attack saboteur.*ValueError: counted 2"):
        simulate(scenario, engine="ray", ray_address=cluster.address, workers=2, clients_per_task=4)


def test_a_killed_worker_changes_nothing(small, cluster, tmp_path):
    marker = tmp_path / "killed"
    scenario = small.replace(
        attack=f"saboteur(marker={marker})",
        malicious_nodes=(3,),
        momentum=0.9,
        persistent_momentum=True,
    )
    options = {"engine": "ray", "ray_address": cluster.address, "workers": 2, "clients_per_task": 4}
    there = outcome(scenario, tmp_path / "there", **options)
    assert marker.exists()
    assert_same(there, outcome(scenario, tmp_path / "here"))


def test_a_cohort_that_is_lost_again_and_again_ends_the_run(small, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "RETRIES", 1)
    attack = f"saboteur(ends=always, marker={tmp_path / 'killed'})"
    scenario = small.replace(attack=attack, malicious_nodes=(3,))
    handler = signal.getsignal(signal.SIGTERM)
    with ray_session(cluster.address):  # a Ray that is there is used, and left
        assert signal.getsignal(signal.SIGTERM) is handler
        with pytest.raises(EngineError, match="of clients 2, 3 was lost 2 times in the same round.*exit"):
            simulate(scenario, engine="ray", workers=1, clients_per_task=2)
        assert ray.is_initialized()
        with pytest.raises(EngineError, match="uses the cluster at .* already"):
            simulate(small, engine="ray", ray_address="127.0.0.1:1")
    assert not ray.is_initialized()


def test_a_lost_machine_changes_nothing(small, cluster, tmp_path):
    cluster.add_node(num_cpus=1, resources={"away": 1})
    marker = tmp_path / "killed"
    scenario = small.replace(attack=f"saboteur(ends=machine, marker={marker})", malicious_nodes=(3,))
    options = {"ray_address": cluster.address, "ray_resources": {"away": 1}, "clients_per_task": 2}
    there = outcome(scenario, tmp_path / "there", engine="ray", **options)
    assert marker.exists()
    here = outcome(scenario, tmp_path / "here")
    assert_same(there, here)


def test_what_no_machine_can_hold_is_an_error(small, cluster):
    with pytest.raises(EngineError, match="no machine of the Ray cluster has room .*'CPU': 64"):
        simulate(small, engine="ray", ray_address=cluster.address, ray_resources={"CPU": 64})


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1:1", "cannot be reached"), ("ray://127.0.0.1:1", "expected auto, or host:port")],
)
def test_an_address_without_a_cluster_is_an_error_at_once(small, address, words):
    with pytest.raises(EngineError, match=words):
        simulate(small, engine="ray", ray_address=address)


def test_resources_have_to_be_positive(small):
    with pytest.raises(EngineError, match="expected amounts above 0"):
        simulate(small, engine="ray", ray_resources={"CPU": 0})

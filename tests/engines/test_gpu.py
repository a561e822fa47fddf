"""Runs on a device: the grid on processors, which are a device too, and on CUDA where there is any."""

import json

import pytest
import torch

from clients.attacks.data.label_flip import LabelFlip
from fedpoison.devices import CPU, aggregation_device, deterministic_mode, resolve_device
from fedpoison.engines.local import DeviceGrid, device_grid
from fedpoison.engines.options import EngineOptions
from fedpoison.errors import CrashError, EngineError
from fedpoison.federation.client import Task, TrainRequest
from fedpoison.federation.federation import Federation
from fedpoison.federation.server import run_server
from fedpoison.simulation.run import run_in_process, simulate

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def played(federation, device=CPU, **options):
    records = []
    with device_grid(federation, device, EngineOptions(workers=2, **options)) as (grid, workers):
        weights = run_server(federation, grid, workers, records.append).weights
    return weights, records


@pytest.fixture
def mixed(small):
    """A scenario with nodes that poison data, nodes that hook into the training, and ones that craft."""
    return small.replace(
        groups=["backdoor: count=2", "pgd: count=2", "ipm: count=1"],
        strategy="trimmed-mean",
        tolerated=3,
        participation=0.8,
        momentum=0.9,
        persistent_momentum=True,
        proximal=0.1,
        rounds=2,
    )


@pytest.mark.parametrize("clients_per_task", [None, 3])
def test_the_grid_agrees_with_the_loop(mixed, digits, clients_per_task):
    federation = Federation(mixed, digits)
    here = []
    expected = run_in_process(federation, here.append).weights
    weights, records = played(federation, clients_per_task=clients_per_task)
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-4)
    for record, other in zip(records, here, strict=True):
        assert record.accuracy == pytest.approx(other.accuracy, abs=0.011)
        assert record.training.sampled == other.training.sampled
        assert record.training.dropped == other.training.dropped == {}
        assert record.training.groups == other.training.groups


@pytest.mark.parametrize(
    "strategy", ["flwr:FedProx(proximal_mu=0.5)", "fltrust", "nnm | median | adam(lr=0.01)"]
)
def test_strategies_see_what_they_see_without_a_device(small, digits, strategy):
    federation = Federation(small.replace(strategy=strategy, rounds=2), digits)
    torch.testing.assert_close(
        played(federation)[0], run_in_process(federation, lambda _: None).weights, rtol=1e-3, atol=1e-4
    )


def test_a_model_with_dropout_trains_in_threads(small, digits):
    federation = Federation(
        small.replace(model="cnn-bucketing", clients=4, rounds=1, dataset="digits"), digits
    )
    weights, records = played(federation)
    assert torch.equal(weights, run_in_process(federation, lambda _: None).weights)
    assert records[-1].training.dropped == {}


def test_a_client_whose_attack_raises_stops_the_run(small, digits, monkeypatch):
    federation = Federation(small.replace(attack="label-flip", rounds=1), digits)

    def fail(*_):
        raise RuntimeError("no labels here")

    monkeypatch.setattr(LabelFlip, "poison_data", fail)
    with pytest.raises(CrashError, match="client ., attack label-flip: .*RuntimeError: no labels here"):
        played(federation)


def test_too_little_memory_says_what_to_do(small, digits, monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("fedpoison.engines.local.train_clients_stacked", exhausted)
    with pytest.raises(EngineError, match="no memory for a stack of 10 clients; train fewer at once"):
        played(Federation(small, digits))


def test_devices_are_found_or_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    for name in ("cuda", "mps"):
        with pytest.raises(EngineError, match=f"got {name}, expected a device that torch .* finds: cpu"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


def test_updates_come_home_from_devices_without_float64():
    assert aggregation_device(torch.device("mps")) == CPU
    assert aggregation_device(torch.device("cuda")) == torch.device("cuda")


@pytest.mark.parametrize("engine", ["ray", "flower"])
def test_other_engines_have_processors_only(small, engine):
    with pytest.raises(EngineError, match=f"got cuda on engine {engine}; only local"):
        simulate(small, engine=engine, device="cuda")


def test_determinism_is_put_back():
    before = torch.are_deterministic_algorithms_enabled()
    with deterministic_mode(CPU, deterministic=True):
        assert torch.are_deterministic_algorithms_enabled() == before
    assert torch.are_deterministic_algorithms_enabled() == before


def test_outcomes_come_in_the_order_of_the_tasks(mixed, digits):
    federation = Federation(mixed, digits)
    with device_grid(federation, CPU, EngineOptions(workers=2)) as (grid, _):
        assert isinstance(grid, DeviceGrid)
        request = TrainRequest(1, federation.initial, None, None)
        tasks = [Task(client_id, request, {}) for client_id in (7, 2, 9, 0, 4)]
        (results,) = grid.train([tasks])
    assert [result.trained.client_id for result in results] == [7, 2, 9, 0, 4]


@pytest.mark.gpu
@needs_cuda
def test_cuda_agrees_with_processors(mixed, tmp_path):
    here = simulate(mixed, device="cpu")
    there = simulate(mixed, device="cuda", out=tmp_path)
    assert there.last.accuracy == pytest.approx(here.last.accuracy, abs=0.02)
    provenance = json.loads((there.path / "environment.json").read_text())
    assert provenance["device"]["name"].startswith("cuda (")


@pytest.mark.gpu
@needs_cuda
def test_deterministic_runs_give_the_same_bits(mixed, digits):
    federation = Federation(mixed.replace(model="cnn"), digits)
    device = torch.device("cuda")
    first, second = (played(federation, device, deterministic=True)[0] for _ in range(2))
    assert torch.equal(first, second)

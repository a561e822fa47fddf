"""What the tests share: a small world that trains in a moment."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

# Flower and Ray read these when they are imported.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes that share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from crafting import D, H, M, drawn
from flwr.serverapp.strategy import FedAvg

from clients.training.local_training import LocalTraining
from clients.training.samples import Samples, random_mask
from clients.training.trainer import Trainer
from fedpoison import cli
from fedpoison.data import Dataset, load_dataset
from fedpoison.engines.ray_session import ray_session
from fedpoison.results.round import Failure, OnRound, Round
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.studies.comparison import compare

SMALL = [
    "--dataset", "digits", "--train-samples", "400", "--test-samples", "200", "--clients", "10",
    "--rounds", "2", "--model", "mlp", "--batch-size", "8",
]  # fmt: skip
"""Options of a run of well under a second."""

ROOT = Path(__file__).parents[1]
"""The checkout."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of Ray in one process, which they share, and each file that starts Flower in another.

    One process starts browsers.
    """
    for item in items:
        if item.get_closest_marker("flower"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
        elif item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif "browser" in getattr(item, "fixturenames", ()):  # doctests have no fixtures
            item.add_marker(pytest.mark.xdist_group("browser"))


def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than cores, up to 8: those that start Ray or Flower mostly wait for them."""
    return min((os.cpu_count() or 1) + 1, 8)


def heed_ctrl_c() -> None:
    """Have a process that is about to start heed Ctrl-C, even where the tests run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def timeless(record: Round) -> Round:
    """Return a record without its times."""
    return replace(record, training=replace(record.training, seconds={}))


class Stopped(BaseException):
    """Ends a run as a signal does: nothing that handles errors sees it."""


def stop_after(number: int) -> OnRound:
    """Return a callback that stops a run after a round."""

    def on_round(record: Round) -> None:
        if record.round == number:
            raise Stopped

    return on_round


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="session")
def pages():
    """Return the module that generates pages of the documentation, which is in no package."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def _shared_ray():
    with ExitStack() as session:
        yield session


@pytest.fixture
def shared_ray(_shared_ray):
    """Ray with two CPUs in this process. Tests share it, because it takes longer to start than they run."""
    _shared_ray.enter_context(ray_session(cpus=2))  # does nothing if Ray runs


@pytest.fixture
def no_ray(_shared_ray):
    """A process in which Ray does not run."""
    _shared_ray.close()


@pytest.fixture(scope="session")
def report_store(tmp_path_factory) -> Path:
    """A run store with two attacks, two strategies and two seeds."""
    base = Scenario(
        dataset="digits", train_samples=300, test_samples=150, clients=10, rounds=4, model="mlp", lr=0.05
    )
    out = tmp_path_factory.mktemp("stored")
    compare(base, ["none", "backdoor"], ["fedavg", "krum"], seeds=[0, 1], out=out, jobs=1)
    return out


@pytest.fixture(scope="session")
def unfinished_store(report_store, tmp_path_factory) -> Path:
    """The same store, where under the backdoor one run of FedAvg was stopped, and both of Krum failed."""
    out = tmp_path_factory.mktemp("unfinished") / "runs"
    shutil.copytree(report_store, out)
    for path in out.iterdir():
        run, writer = StoredRun(path), RunWriter(path)
        scenario = run.history.scenario
        if scenario.attack == "none" or (scenario.strategy, scenario.seed) == ("fedavg", 0):
            continue
        lines = run.rounds.read_text(encoding="utf-8").splitlines(keepends=True)
        writer.discard()
        if scenario.strategy == "krum":
            writer.fail(scenario, Failure("krum: got <b>4</b> updates."))
        if scenario.seed == 1 and scenario.strategy == "krum":
            continue
        run.rounds.write_text("".join(lines[:3]), encoding="utf-8")
    return out


@pytest.fixture(scope="session")
def stopping() -> Scenario:
    """A scenario in which updates that are not finite leave Krum too few with seed 3, but not with seed 2."""
    return Scenario(
        dataset="digits", train_samples=300, test_samples=150, clients=10, rounds=2, model="mlp", lr=0.05,
        malicious=0.3, tolerated=1, participation=0.7,
    )  # fmt: skip


@pytest.fixture(scope="session")
def stopped_store(stopping, tmp_path_factory) -> Path:
    """A run store in which an attack stopped one of two runs of Krum, as a comparison leaves it."""
    out = tmp_path_factory.mktemp("stopped")
    attacks, strategies = ["none", "non-finite-update"], ["krum", "median"]
    compare(stopping, attacks, strategies, seeds=[2, 3], out=out, jobs=1)
    return out


@pytest.fixture(scope="session")
def defective_store(tmp_path_factory) -> Path:
    """A run store with lost replies, and with Flower's FedAvg, which never aggregated."""
    base = Scenario(
        dataset="digits", train_samples=300, test_samples=150, clients=10, rounds=2, model="mlp", lr=0.05,
        malicious=0.1,
    )  # fmt: skip
    out = tmp_path_factory.mktemp("defective")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FedAvg, "aggregate_train", lambda *_: (None, None))
        compare(base, ["none", "non-finite-update"], ["fedavg", "flwr:FedAvg"], seeds=[0], out=out, jobs=1)
    return out


@pytest.fixture
def small() -> Scenario:
    """A run of well under a second: ten clients with 40 samples each, an MLP, three rounds."""
    return Scenario(
        dataset="digits",
        train_samples=400,
        test_samples=200,
        clients=10,
        rounds=3,
        model="mlp",
        batch_size=8,
        lr=0.05,
        malicious=0.2,
    )


@pytest.fixture
def samples() -> Samples:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(60, 1, 8, 8, generator=generator)
    return Samples((images - 0.5) / 0.25, torch.arange(60) % 10, 10, (0.5,), (0.25,))


@pytest.fixture
def mixed(samples) -> Samples:
    """The samples, a third of them stamped and labelled 3."""
    mask = random_mask(60, 1 / 3, torch.Generator().manual_seed(4))
    pixels = samples[mask].pixels()
    pixels[..., -2:, -2:] = 1
    made = samples[mask].with_pixels(pixels)
    return samples.replaced(mask, made.with_labels(torch.full_like(made.labels, 3)))


@pytest.fixture
def large(digits) -> Samples:
    return digits.train[torch.arange(300)]


@pytest.fixture
def trainer() -> Trainer:
    torch.manual_seed(0)  # the layers' own initialisation, here where nothing depends on the values
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    return Trainer(model, LocalTraining(batch_size=8))


@pytest.fixture
def deep() -> Trainer:
    """A trainer of a small convolutional network."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.MaxPool2d(2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 12),
        torch.nn.ReLU(),
        torch.nn.Linear(12, 10),
    )
    return Trainer(model, LocalTraining(batch_size=8, lr=0.1))


@pytest.fixture
def fitted(large) -> Trainer:
    """A trainer of a small network that has learned the digits."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )
    trainer = Trainer(model, LocalTraining(batch_size=16, lr=0.05))
    trainer.fit(large, torch.Generator().manual_seed(0), training=LocalTraining(epochs=5, lr=0.05))
    return trainer


@pytest.fixture
def own() -> torch.Tensor:
    """The updates that the malicious clients would send, (M, D)."""
    return 0.5 + drawn(M, D, seed=1)


@pytest.fixture
def honest() -> torch.Tensor:
    """The updates of the honest clients, (H, D)."""
    return 0.5 + drawn(H, D, seed=2)


@pytest.fixture
def fedpoison(monkeypatch, capsys):
    """Return a function that runs the command line and gives its exit code, stdout and stderr."""

    def run(*arguments, width=200):
        monkeypatch.setattr(sys, "argv", ["fedpoison", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", str(width))
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run

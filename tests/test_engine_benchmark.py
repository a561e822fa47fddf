"""The benchmark of engines, on work that takes no time."""

import pytest
import torch
from torch import nn

from experiments.benchmarks import engines, measure
from experiments.benchmarks.clock import Clock, UnavailableError
from experiments.benchmarks.engines import PEAK, Runs, compare, measured, table
from experiments.benchmarks.flops import training_flops
from experiments.benchmarks.phases import MACHINERY, phases
from experiments.benchmarks.work import WORKS, Work
from fedpoison.models import MODELS

TINY = Work(title="tiny", model="mlp", clients=4, samples=20, batch_size=10, dataset="digits")
STEP = Work(title="step", model="mlp", clients=4, malicious=1, samples=20, steps=1, block=2, dataset="digits")


def test_operations_follow_from_shapes():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 16, 3))
    first, second = 2 * (1 * 9) * (2 * 16), 2 * 32 * 3
    assert training_flops(model, (1, 4, 4)) == 2 * first + 3 * second
    cnn = 2 * (25 * 16 * 28 * 28) * 2 + 3 * 2 * (16 * 25 * 32 * 14 * 14 + 32 * 7 * 7 * 10)
    assert training_flops(MODELS["cnn"]((1, 28, 28), 10), (1, 28, 28)) == cnn


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_every_work_is_a_scenario(work):
    scenario = work.scenario(2 * work.block)
    assert scenario.clients == work.everyone
    assert scenario.train_samples <= 60_000
    assert Work.of(work.fields()) == work


def test_images_are_those_of_honest_clients():
    assert WORKS["cnn"].images == WORKS["thousand"].images == 60_000
    assert WORKS["one-step"].images == 10 * 25


def test_a_clock_tells_the_first_block_apart():
    clock = Clock(began=100.0, ends=[101.0, 105.0, 108.0, 112.0], idle=[0.0, 0.0, 1.0, 2.0])
    assert clock.result(block=2) == {"first": 5.0, "rounds": [1.0, 1.0]}


def test_a_contender_runs_in_a_process_of_its_own():
    result, memory = measured(TINY, "local", blocks=2)
    assert len(result["rounds"]) == 1
    assert result["first"] > result["rounds"][0] > 0
    assert memory > 2**20


def test_contenders_that_cannot_run_say_why(monkeypatch):
    with pytest.raises(UnavailableError, match="rounds of one step"):
        measure.byzfl(TINY, 1, Clock(0.0))
    monkeypatch.setattr("fedpoison.engine_options.Engine", "local")
    with pytest.raises(UnavailableError, match="no engine ray"):
        measure.ray(TINY, 1, Clock(0.0))


def test_contenders_take_turns_and_those_that_fail_are_left_out(monkeypatch):
    asked = []

    def fake(work, contender, blocks):
        asked.append(contender)
        results = {PEAK: {"flops": 1e11}, "byzfl": {"skipped": "failed: no"}}
        return results.get(contender, {"first": 5.0, "rounds": [0.5, 0.25, 0.5]}), 2**30

    monkeypatch.setattr(engines, "measured", fake)
    runs = compare(TINY, ["local", "byzfl", "ray"], blocks=4, repeats=2)
    assert asked == [PEAK, "local", "byzfl", "ray", PEAK, "local", "ray"]
    rows = [line.strip("| ").split(" | ") for line in table(TINY, runs) if line.startswith("| ")]
    assert rows[1][:4] == ["local", "0.5", "1.00", "160"]
    assert rows[1][-2:] == ["5.0", "1,024"]
    assert rows[2] == ["byzfl", "skipped: failed: no"]


def test_nothing_more_is_run_once_a_contender_is_skipped(monkeypatch):
    monkeypatch.setattr(engines, "measured", lambda *_: pytest.fail("ran"))
    Runs(skipped="no").go(TINY, "byzfl", 1)


@pytest.mark.parametrize("work", [TINY, STEP], ids=["epoch", "step"])
def test_phases_add_up(work):
    before = torch.get_num_threads()
    try:
        lines = [line for line in phases(work, rounds=2) if line.startswith("| ")]
    finally:
        torch.set_num_threads(before)
    found = {
        row[0]: float(row[2].rstrip("%")) for row in (line.strip("| ").split(" | ") for line in lines[1:])
    }
    machinery = found.pop(f"machinery: {', '.join(MACHINERY)}")
    assert {"forward", "backward", "step", "data", "wire", "rule", "evaluation", "rest"} <= found.keys()
    assert sum(found.values()) == pytest.approx(100, abs=1)
    assert machinery == pytest.approx(sum(found[name] for name in MACHINERY), abs=1)

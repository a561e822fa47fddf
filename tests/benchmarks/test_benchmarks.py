"""The benchmarks of aggregation and of engines, on work that takes no time."""

import sys

import pytest
import torch
from torch import nn

from experiments.benchmarks import (
    aggregation,
    attacks,
    checkpoints,
    engines,
    linear_layers,
    measure,
    peers,
    startup,
)
from experiments.benchmarks.clock import Clock, UnavailableError
from experiments.benchmarks.engines import PEAK, Runs, compare, measured, table
from experiments.benchmarks.flops import training_flops
from experiments.benchmarks.phases import MACHINERY, phases
from experiments.benchmarks.work import WORKS, Work
from fedpoison.models import MODELS
from fedpoison.scenario import registries
from fedpoison.scenario.registries import optimizers, preaggregators, strategies


@pytest.fixture
def rule_rows(monkeypatch, capsys):
    """Return a function that runs the benchmark and gives the rows of its table, by rule."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["aggregation", "--repeats", "1", "--threads", "1", *arguments])
        before = torch.get_num_threads()
        try:
            aggregation.main()
        finally:
            torch.set_num_threads(before)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return {row[2]: row for row in cells}

    return run


def test_every_rule_is_timed(rule_rows):
    rows = rule_rows("--n", "11", "--d", "200")
    assert set(strategies.entries()) < set(rows)
    for name in preaggregators.entries():
        assert f"{name} / fedavg" in rows
    for name in optimizers.entries():
        assert f"fedavg / {name}" in rows
    for rule, (n, d, *figures) in list(rows.items())[1:]:
        assert (n, d) == ("11", "200")
        assert figures[1].startswith("skipped: ") or all(float(figure) >= 0 for figure in figures[1:]), rule


def test_peers_run_in_turn_with_ours(rule_rows):
    pytest.importorskip("byzfl")
    rows = rule_rows("--n", "11", "--d", "200", "--rules", "krum, nnm | median", "--peers")
    assert rows["rule"][-3:] == ["ByzFL ms", "Flower ms", "quicker / ours"]
    assert all(float(figure) >= 0 for figure in rows["krum"][3:])
    byzfl, flower, ratio = rows["nnm / median"][-3:]
    assert float(byzfl) > 0
    assert flower == ""
    assert float(ratio) >= 0


def test_nothing_is_started_that_would_not_fit(rule_rows, monkeypatch):
    pytest.importorskip("byzfl")
    n, d = 11, 20_000
    monkeypatch.setattr(peers, "available_memory", lambda: 4 * n * d * 8)
    rows = rule_rows("--n", str(n), "--d", str(d), "--rules", "nnm | fedavg, fedavg", "--peers")
    assert rows["nnm / fedavg"][5] == "out of memory"
    assert float(rows["fedavg"][5]) >= 0
    monkeypatch.setattr(aggregation, "available_memory", lambda: 4 * n * d)
    assert rule_rows("--n", str(n), "--d", str(d), "--rules", "fedavg")["all"][3] == "out of memory"


@pytest.mark.parametrize("rule", ["fedavg", "median", "trimmed-mean", "krum", "multi-krum", "nnm | median"])
def test_peers_do_what_the_rule_does(rule):
    pytest.importorskip("byzfl")
    updates = torch.randn(11, 50, generator=torch.Generator().manual_seed(0))
    ours, byzantine = aggregation.most_tolerant(rule, 11)
    libraries = peers.peers(rule, updates, byzantine)
    assert libraries
    for peer in libraries:
        theirs = peer.run()
        theirs = torch.as_tensor(theirs[0] if isinstance(theirs, list) else theirs)
        if "krum" in rule and peer.library == "ByzFL":
            continue  # scores n - f - 1 neighbours where the paper has n - f - 2
        torch.testing.assert_close(theirs.float(), ours(updates).update, rtol=1e-4, atol=1e-5)


@pytest.fixture
def attack_rows(monkeypatch, capsys):
    """Return a function that runs the benchmark of attacks and gives the rows of its two tables."""

    def run(*arguments):
        size = ["--n", "11", "--d", "200", "--samples", "20", "--model", "mlp", "--repeats", "1"]
        monkeypatch.setattr(sys, "argv", ["attacks", *size, "--threads", "1", *arguments])
        before = torch.get_num_threads()
        try:
            attacks.main()
        finally:
            torch.set_num_threads(before)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    return run


def test_every_attack_is_timed(attack_rows):
    rows = attack_rows("--rules", "median")
    assert {row[0] for row in rows} - {"attack"} == set(registries.attacks.entries()) - {
        "none",
        "claimed-examples",
        "token-backdoor",  # the synthetic clients have images
    }
    by_name = {row[0]: row for row in rows if len(row) == 5}
    assert by_name["tailored"][1] == "median"
    assert by_name["alie"][1] == "-"
    for name, *cells in rows:
        figures = [cell for cell in cells if cell not in ("-", "", "median")]
        assert name == "attack" or all(float(figure) >= 0 for figure in figures), name


def test_attacks_that_know_the_rule_are_timed_against_each(attack_rows):
    rows = attack_rows("--rules", "krum, nnm | median", "--attacks", "optimal-ipm, ipm, pgd")
    assert [row[:2] for row in rows[1:4]] == [
        ["optimal-ipm", "krum"],
        ["optimal-ipm", "nnm / median"],
        ["ipm", "-"],
    ]
    assert [row[0] for row in rows[5:]] == ["pgd"]


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
    assert Work.from_fields(work.fields()) == work


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
    monkeypatch.setattr("fedpoison.engines.options.Engine", "local")
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
    Runs(skipped="no").run_once(TINY, "byzfl", 1)


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
    assert {
        "gradients of linear layers",
        "step",
        "data",
        "wire",
        "rule",
        "evaluation",
        "rest",
    } <= found.keys()
    assert sum(found.values()) == pytest.approx(100, abs=1)
    assert machinery == pytest.approx(sum(found[name] for name in MACHINERY), abs=1)


def test_the_start_of_each_command_is_timed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["startup", "--repeats", "1"])
    light = {name: command for name, command in startup.COMMANDS.items() if "torch" not in name}
    monkeypatch.setattr(startup, "COMMANDS", light)
    startup.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [name for name, _ in rows] == [f"| `{name}`" for name in light]
    assert all(float(duration.strip(" |")) > 0 for _, duration in rows)


def test_the_time_of_checkpoints_is_part_of_the_time_of_the_run(monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "RUNS", {"one": checkpoints.BASE.replace(clients=4, train_samples=40)})
    monkeypatch.setattr("fedpoison.federation.checkpoints.SHARE", 0.9)
    monkeypatch.setattr(sys, "argv", ["checkpoints", "--rounds", "4", "--runs", "one"])
    checkpoints.main()
    _, _, row = capsys.readouterr().out.splitlines()
    _, rounds, seconds, count, size, share = (cell.strip() for cell in row.strip("|").split("|"))
    assert rounds == "4"
    assert int(count) > 0
    assert float(seconds) > 0
    assert float(size.removesuffix(" MB")) > 0
    assert 0 < float(share.removesuffix(" %")) <= 90


def test_models_of_linear_layers_are_timed_with_and_without_autograd():
    rows = [line.strip("| ").split(" | ") for line in linear_layers.table(["logistic"], [300], repeats=1)]
    assert [row[:2] for row in rows[2:]] == [["`logistic`", "300"]]
    direct, autograd, ratio = map(float, rows[2][2:])
    assert ratio == pytest.approx(autograd / direct, rel=0.05)

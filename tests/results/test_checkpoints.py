"""Every part of a run continues from a checkpoint with the same bits, and bad checkpoints are refused."""

import dataclasses
import json
import re

import pytest
import torch
from conftest import ROOT, Stopped, stop_after, timeless
from safetensors.torch import load_file, save_file

from clients import ATTACKS
from experiments.kills import BATCHES, RUNS, command_of, kills
from fedpoison.engines.local import local_grid
from fedpoison.engines.options import EngineOptions
from fedpoison.errors import RunError
from fedpoison.federation.checkpoints import BYTES_PER_SECOND, SHARE, Checkpoints
from fedpoison.federation.federation import Federation
from fedpoison.federation.server import run_server, suppress_flower_logs
from fedpoison.federation.unrecorded import Unrecorded
from fedpoison.results.checkpoint import Checkpoint
from fedpoison.results.effects import Effects
from fedpoison.results.history import History
from fedpoison.results.round import GroupRecord, Training
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import run_all
from fedpoison.simulation.run import simulate
from strategies import OPTIMIZERS, PREAGGREGATORS, STRATEGIES

BASE = Scenario(
    dataset="digits", train_samples=120, test_samples=40, clients=8, rounds=4, model="mlp", batch_size=8,
    lr=0.05, momentum=0.9, persistent_momentum=True, malicious=0.25, tolerated=1, participation=0.9,
    root_samples=20,
)  # fmt: skip
ATTACKED = {"inject+min-max": [1, 2, 7], "backdoor+ipm": [4]}
"""Clients of two groups."""
FLOWER = ["FedAdagrad", "FedAdam", "FedAvgM", "FedYogi"]
QUICKER = {"deepsight": "deepsight(images=20)"}
"""Parameters of rules that take seconds by default."""
STRATEGY_SPECS = [
    *(QUICKER.get(name, name) for name in sorted(STRATEGIES)),
    *(f"{name} | median" for name in PREAGGREGATORS),
    *(f"fedavg | {name}" for name in OPTIMIZERS),
    *(f"flwr:{name}" for name in FLOWER),
]


def run(federation, *, start=None, saved=None, every=2):
    """Run in memory. Return the final weights, and the records without their times."""
    records = []
    checkpoints = Checkpoints(
        (lambda found: saved.append(found.copy())) if saved is not None else (lambda _: None), every, start
    )
    options = EngineOptions(workers=1, device="cpu")
    with suppress_flower_logs(), local_grid(federation, options) as (grid, pool):
        weights = run_server(federation, grid, pool, records.append, checkpoints=checkpoints).weights
    return weights, [timeless(record) for record in records]


def check_continues(scenario, path):
    """Stop the run after half of its rounds, continue it from the file, and compare the bits."""
    federation, saved = Federation.load(scenario), []
    weights, records = run(federation, saved=saved)
    saved[0].write(path)
    start = Checkpoint.read(path, scenario.run_id)
    assert start.round == 2
    continued, later = run(Federation.load(scenario), start=start)
    assert torch.equal(weights, continued)
    assert records[3:] == later


@pytest.mark.parametrize("strategy", STRATEGY_SPECS)
def test_every_strategy_continues_with_the_same_bits(strategy, tmp_path):
    check_continues(BASE.replace(strategy=strategy, attack="sign-flip"), tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize("attack", sorted(name for name in ATTACKS if not ATTACKS[name].card.on_tokens))
def test_every_attack_continues_with_the_same_bits(attack, tmp_path):
    check_continues(BASE.replace(attack=attack, strategy="median"), tmp_path / "checkpoint.safetensors")


@pytest.fixture
def stopped(tmp_path):
    """A run that was stopped after round 3 of 4, with a checkpoint of round 2."""
    scenario = BASE.replace(strategy="fldetector | adam", attack="mimic")
    with pytest.raises(Stopped):
        simulate(scenario, out=tmp_path, checkpoint_every=2, on_round=stop_after(3))
    return StoredRun(tmp_path / scenario.run_id)


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_a_continued_run_counts_the_replies_lost_before_it(tmp_path, rounds):
    scenario = BASE.replace(
        attack="non-finite-update", strategy="median", participation=1.0, rounds=7, evaluate_every=3,
        malicious=1.0, schedule="window(start=1, stop=3)",
    )  # fmt: skip
    whole, saved = simulate(scenario), []
    run(Federation.load(scenario), saved=saved, every=1)
    saved[rounds - 1].write(tmp_path / "checkpoint")
    start = Checkpoint.read(tmp_path / "checkpoint", scenario.run_id)
    assert start.round == rounds
    _, later = run(Federation.load(scenario), start=start)
    continued = History(scenario, [record for record in whole.records if record.round <= rounds] + later)
    assert whole.dropped == {"contains NaN or infinity": 8 * 3}
    assert whole.unchanged == {"no reply was usable": 3}
    assert (continued.dropped, continued.unchanged) == (whole.dropped, whole.unchanged)
    assert continued.notes == whole.notes


def test_a_continued_run_in_which_nobody_trained_is_no_result(tmp_path):
    scenario = BASE.replace(attack="non-finite-update", strategy="median", malicious=1.0)
    saved = []
    with pytest.raises(RunError, match="no honest reply was usable in 3 of 4 rounds"):
        run(Federation.load(scenario), saved=saved)
    with pytest.raises(RunError, match="no honest reply was usable in 3 of 4 rounds"):
        run(Federation.load(scenario), start=saved[0])


def test_the_sums_since_the_last_record_come_back():
    sums, back = Unrecorded(), Unrecorded()
    for _ in range(2):
        counts = {"drop_counts": {"late: a, b": 3}, "unchanged": {"no reply was usable": 1}}
        groups = [GroupRecord(attack=name, nodes=nodes, acted=True) for name, nodes in ATTACKED.items()]
        training = Training(**counts, groups=groups, seconds={"train": 0.1, "attack": 0.25})
        sums.add(training, Effects(data={1: False, 4: False}, updates={4: True, 7: False}))
    back.restore(sums.state())
    assert (back.drop_counts, back.unchanged) == ({"late: a, b": 6}, {"no reply was usable": 2})
    assert (back.seconds, back.rounds_without_update) == ({"train": 0.2, "attack": 0.5}, 2)
    assert back.effects == {
        0: Effects(data={1: False}, updates={7: False}),
        1: Effects(data={4: False}, updates={4: True}),
    }
    empty = Unrecorded()
    empty.restore(Unrecorded().state())
    assert vars(empty) == vars(Unrecorded())


def test_the_same_call_continues_and_ends_in_the_same_bits(stopped, tmp_path):
    scenario = stopped.history.scenario
    assert [record.round for record in stopped.history.records] == [0, 1, 2, 3]
    notices, seen = [], []
    again = simulate(scenario, out=tmp_path, notify=notices.append, on_round=seen.append)
    whole = simulate(scenario, out=tmp_path / "whole")
    assert "continues after round 2 of 4" in notices[-1]
    assert [record.round for record in seen] == [0, 1, 2, 3, 4]
    assert list(map(timeless, again.records)) == list(map(timeless, whole.records))
    assert (again.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    stored = StoredRun(stopped.path)
    assert list(map(timeless, stored.history.records)) == list(map(timeless, whole.records))
    assert not stored.checkpoint.exists()
    assert [each["after_round"] for each in stored.environment["continued"]] == [2]


def test_a_run_in_a_batch_continues(stopped, tmp_path):
    notices = []
    run_all([stopped.history.scenario], out=tmp_path, jobs=1, notify=notices.append).check()
    assert any("continues after round 2 of 4" in notice for notice in notices)


def test_fresh_starts_again(stopped, tmp_path):
    notices = []
    simulate(stopped.history.scenario, out=tmp_path, fresh=True, notify=notices.append)
    assert notices == []
    assert "continued" not in StoredRun(stopped.path).environment


def test_updates_that_were_not_saved_start_the_run_again(stopped, tmp_path):
    notices = []
    simulate(stopped.history.scenario, out=tmp_path, keep_updates=[1, 3], notify=notices.append)
    assert "the updates of round 1 were not saved before the checkpoint" in notices[-1]
    assert all(stopped.updates_of(number).is_file() for number in (1, 3))


def damaged(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def another_format(path):
    path.write_text("run = 1\n")


def without_description(path):
    save_file({"a": torch.zeros(1)}, path)


def foreign(path):
    dataclasses.replace(Checkpoint.read(path, path.parent.name), run_id="0123456789ab").write(path)


def future(path, monkeypatch):
    found = Checkpoint.read(path, path.parent.name)
    with monkeypatch.context() as patch:
        patch.setattr("fedpoison.results.checkpoint.FORMAT", 2)
        found.write(path)


DAMAGED = "is damaged .*; start the run again: delete checkpoint.safetensors, or use --fresh"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        *((change, DAMAGED) for change in (damaged, cut, empty, another_format, without_description)),
        (foreign, "belongs to the run 0123456789ab"),
        (future, "has format 2, expected at most 1.*update fedpoison"),
    ],
)
def test_a_bad_checkpoint_is_refused(stopped, tmp_path, monkeypatch, change, fault):
    change(stopped.checkpoint, monkeypatch) if change is future else change(stopped.checkpoint)
    scenario = stopped.history.scenario
    with pytest.raises(RunError, match=fault):
        simulate(scenario, out=tmp_path)
    assert simulate(scenario, out=tmp_path, fresh=True).last.round == 4


def test_a_bad_checkpoint_stops_one_run_of_a_batch_and_is_kept(stopped, tmp_path):
    cut(stopped.checkpoint)
    scenario = stopped.history.scenario
    other = scenario.replace(rounds=1)
    result = run_all([scenario, other], out=tmp_path, jobs=1)
    assert list(result.histories) == [other]
    assert re.search(DAMAGED, result.failures[scenario].reason)
    stopped.checkpoint.unlink()
    run_all([scenario], out=tmp_path, jobs=1).check()
    assert stopped.complete


def test_a_checkpoint_of_other_code_is_refused(stopped, tmp_path):
    known = json.loads(stopped.provenance.read_text())
    stopped.provenance.write_text(json.dumps({**known, "sources": "aaaaaaaaaaaa"}))
    with pytest.raises(RunError, match="was written by other code .*aaaaaaaaaaaa"):
        simulate(stopped.history.scenario, out=tmp_path)


def test_records_that_the_checkpoint_needs_are_named(stopped, tmp_path):
    lines = stopped.rounds.read_text().splitlines(keepends=True)
    stopped.rounds.write_text("".join(lines[:2]))
    with pytest.raises(RunError, match="lacks records of rounds before the checkpoint of round 2"):
        simulate(stopped.history.scenario, out=tmp_path)


def test_a_repeated_run_that_is_stopped_leaves_the_result(tmp_path):
    scenario = BASE.replace(strategy="median")
    first = simulate(scenario, out=tmp_path, keep_updates=[2])
    stored = StoredRun(first.path)
    model, updates = stored.model.read_bytes(), stored.updates_of(2).read_bytes()
    notices = []
    with pytest.raises(Stopped):
        simulate(
            scenario, out=tmp_path, keep_updates=[3], checkpoint_every=1, on_round=stop_after(3),
            notify=notices.append,
        )  # fmt: skip
    assert "is repeated now" in notices[-1]
    assert StoredRun(first.path).complete
    assert StoredRun(first.path).history.last.round == 4
    assert (stored.model.read_bytes(), stored.updates_of(2).read_bytes()) == (model, updates)
    simulate(scenario, out=tmp_path, keep_updates=[3], notify=notices.append)
    assert "continues after round 2 of 4" in notices[-1]
    assert stored.model.read_bytes() == model
    assert stored.updates_of(2).read_bytes() == updates  # they belong to the same result
    assert stored.updates_of(3).is_file()
    assert not (first.path / "repeat").exists()


def test_a_repeated_run_that_fails_leaves_the_result(tmp_path):
    scenario = BASE.replace(strategy="median")
    first = simulate(scenario, out=tmp_path)

    def trip(record):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        simulate(scenario, out=tmp_path, on_round=trip)
    assert StoredRun(first.path).complete
    assert StoredRun(first.path).failure is None


def test_checkpoints_take_a_small_share_of_the_time():
    now = [0.0]

    def save(_):
        now[0] += 0.5

    saved = []
    checkpoints = Checkpoints(save, clock=lambda: now[0])
    tensor = torch.zeros(int(BYTES_PER_SECOND) // 8)  # half a second
    for number in range(1, 200):
        now[0] += 1.0
        before = now[0]
        checkpoints.after_round(number, lambda: Checkpoint("", number, {("model",): tensor}))  # noqa: B023
        if now[0] > before:
            saved.append(number)
    assert saved[0] == 25
    assert 6 <= len(saved) <= 8
    assert 0.5 * len(saved) <= SHARE * now[0]


def test_the_file_holds_tensors_of_every_kind(tmp_path):
    shared = torch.arange(6.0)
    state = {
        ("client", 3, "a: b"): shared.reshape(2, 3).t(),
        ("client", None): shared,
        ("bits",): torch.tensor([True, False]),
        ("count",): torch.tensor(3),
        ("half",): torch.ones(2, dtype=torch.bfloat16),
        ("empty",): torch.zeros(0, 4),
    }
    path = tmp_path / "checkpoint.safetensors"
    Checkpoint("abc", 7, state).write(path)
    found = Checkpoint.read(path, "abc")
    assert found.round == 7
    assert found.state.keys() == state.keys()
    assert all(torch.equal(found.state[key], kept) for key, kept in state.items())
    assert all(found.state[key].dtype == kept.dtype for key, kept in state.items())
    assert len(load_file(path)) == len(state)


@pytest.mark.parametrize("name", [*RUNS, *BATCHES])
def test_the_commands_to_kill_have_their_options(name, tmp_path):
    command, *words = command_of(name, "local", tmp_path / "out", [])
    catalogue = json.loads((ROOT / "fedpoison" / "cli" / "catalogue.json").read_text(encoding="utf-8"))
    names = [name for option in catalogue["commands"][command] for name in option["names"]]
    known = {part for name in names for part in name.split("/")}  # --option/--no-option
    assert {word for word in words if word.startswith("--")} <= known


def test_a_killed_process_continues_with_the_same_bits():
    runs = ["fldetector, yogi", "centered-clipping, adam", "afa, adagrad"]
    options = ["--model", "mlp-small", "--train-samples", "200", "--rounds", "16"]
    found = list(kills(3, seed=1, engine="local", runs=runs, longest=0.3, options=options))
    assert [kill.equal for kill in found] == [True] * 3
    assert any(kill.continued_after for kill in found)

"""Runs that the store holds are read, unless fresh ones are asked for; what is odd about them is told."""

import json
import sys

import pytest

from fedpoison.results.provenance import COMMAND_VARIABLE, command, sources, versions
from fedpoison.results.round import Failure
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import StoredRun
from fedpoison.simulation.batch import BatchCallbacks, batch_runner, run_all
from fedpoison.simulation.run import simulate
from fedpoison.studies.reproduce import STUDIES, Publication, PublishedValue
from fedpoison.studies.reproduce.publication import after
from fedpoison.studies.study import Study as Sweep
from fedpoison.studies.study_runner import plan, sweep


@pytest.fixture
def tiny(small):
    return small.replace(rounds=1, model="mlp-small")


COMMANDS = {
    "compare": ["--attacks", "none", "--strategies", "fedavg", "--seeds", "0,1"],
    "breakdown": ["--strategies", "fedavg", "--shares", "0.1"],
    "search": ["--attacks", "mimic", "--trials", 2],
    "sweep": [],
    "reproduce": [],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_over_many_runs_makes_them_anew_if_asked(
    tiny, tmp_path, monkeypatch, fedpoison, command
):
    file, store = tmp_path / "file.toml", tmp_path / "runs"
    subject = file
    file.write_text(tiny.to_toml())
    if command == "sweep":
        base = tiny.content()
        axes = {"seed": [base.pop("seed"), 1]}
        file.write_text(Sweep.parse({"name": "s", "title": "S", "base": base, "axes": axes}).to_toml())
    if command == "reproduce":
        subject = "bucketing"
        cell = PublishedValue("one", [tiny], after(1), published=0.5)
        monkeypatch.setitem(STUDIES, subject, Publication(subject, "One", [cell], [0, 1], []))

    def made(*options):
        arguments = [command, subject, *COMMANDS[command], "--jobs", 1, "--out", store, *options]
        code, _, err = fedpoison(*arguments)
        assert code == 0, err
        return {path: path.stat().st_mtime_ns for path in store.glob("*/model.safetensors")}

    first = made()
    assert first
    assert made() == first
    anew = made("--fresh")
    assert anew.keys() == first.keys()
    assert all(anew[path] > first[path] for path in first)


def test_batches_that_follow_make_nothing_anew_twice(tiny, tmp_path):
    other = tiny.replace(seed=1)
    run_all([tiny, other], out=tmp_path, jobs=1)
    started = []
    callbacks = BatchCallbacks(on_start=lambda scenario: started.append(scenario.seed))
    with batch_runner(out=tmp_path, jobs=1, fresh=True, callbacks=callbacks) as run_more:
        run_more([tiny])
        run_more([tiny, other])
    assert started == [0, 1]


def test_a_fresh_sweep_tries_again_what_failed(tiny, tmp_path):
    base = tiny.content()
    axes = {"seed": [base.pop("seed"), 1]}
    study = Sweep.parse({"name": "s", "title": "S", "base": base, "axes": axes})
    complete, failed = plan(study, out=tmp_path).missing
    run_all([complete], out=tmp_path, jobs=1)
    RunWriter(tmp_path / failed.run_id).fail(failed, Failure("lost"), permanent=True)
    planned = plan(study, out=tmp_path)
    assert (planned.stored, len(planned.failures), planned.missing) == ([complete], 1, [])
    planned = plan(study, out=tmp_path, fresh=True)
    assert (planned.stored, len(planned.failures), planned.missing) == ([], 0, [complete, failed])


def as_of(version, folder):
    """Have the run in a folder look as if that version of fedpoison had made it; None knows no version."""
    written = folder.path / "environment.json"
    known = json.loads(written.read_text())
    known["packages"] = {} if version is None else known["packages"] | {"fedpoison": version}
    written.write_text(json.dumps(known))


def test_runs_of_another_version_are_told_once(tiny, tmp_path):
    base = tiny.content()
    axes = {"seed": [base.pop("seed"), 1, 2, 3]}
    study = Sweep.parse({"name": "s", "title": "S", "base": base, "axes": axes})
    planned = plan(study, out=tmp_path)
    told = []
    sweep(planned, jobs=1, notify=told.append)
    sweep(plan(study, out=tmp_path), jobs=1, notify=told.append)
    assert told == []
    folders = [StoredRun(tmp_path / scenario.run_id) for scenario in planned.missing]
    for version, folder in zip(("0.0.1", "0.0.1", None), folders, strict=False):
        as_of(version, folder)
    ours = versions()["fedpoison"]
    expected = [f"loaded runs that fedpoison 0.0.1 wrote; this is {ours}. To repeat them, use --fresh."]
    sweep(plan(study, out=tmp_path), jobs=1, notify=told.append)
    assert told == expected
    run_all(planned.missing, out=tmp_path, jobs=1, notify=told.append)
    assert told == expected * 2
    with batch_runner(out=tmp_path, jobs=1, notify=told.append) as run_more:
        run_more(planned.missing)
        run_more(planned.missing)
    assert told == expected * 3
    run_all(planned.missing, out=tmp_path, jobs=1, fresh=True, notify=told.append)
    assert told == expected * 3


def test_runs_of_edited_code_are_told_once(tiny, tmp_path):
    scenarios = [tiny.replace(seed=seed) for seed in range(3)]
    run_all(scenarios, out=tmp_path, jobs=1)
    for code, scenario in zip(("0a", "0b", None), scenarios, strict=True):
        written = tmp_path / scenario.run_id / "environment.json"
        known = json.loads(written.read_text())
        assert known["sources"] == sources()
        written.write_text(json.dumps(known | {"sources": code}))
    told = []
    run_all(scenarios[2:], out=tmp_path, jobs=1, notify=told.append)
    assert told == []  # a run that does not say what made it
    run_all(scenarios, out=tmp_path, jobs=1, notify=told.append)
    assert len(told) == 1
    assert "was edited. To repeat them, use --fresh." in told[0]
    run_all(scenarios, out=tmp_path, jobs=1, fresh=True)
    run_all(scenarios, out=tmp_path, jobs=1, notify=told.append)
    assert len(told) == 1


def test_no_secret_of_the_command_is_stored(tiny, tmp_path, monkeypatch):
    given = ["flwr-simulation", "--runtime-api-address", "127.0.0.1:5", "--token", "5b54-ab", "--seed", "3"]
    monkeypatch.setattr(
        sys, "argv", [*given, "--api-key=cd", "--wandb-password", "-ef", "http://me:gh@host/x"]
    )
    written = (simulate(tiny, out=tmp_path).path / "environment.json").read_text()
    stored = json.loads(written)["command"]
    assert stored[:7] == [*given[:4], "***", *given[5:]]
    assert stored[7:] == ["--api-key=***", "--wandb-password", "***", "http://***@host/x"]


def test_the_command_in_flowers_processes_is_that_of_the_user(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fedpoison", "run", "--seed", "3"])
    monkeypatch.setenv(COMMAND_VARIABLE, json.dumps(command()))
    monkeypatch.setattr(sys, "argv", ["flwr-simulation", "--token", "5b54"])
    assert command() == ["fedpoison", "run", "--seed", "3"]

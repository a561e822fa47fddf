"""A sweep makes what is missing, goes on past what fails, and survives the death of its driver."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import torch

from clients import ATTACKS
from clients.attack import Attack, Card
from fedpoison.batch import run_all
from fedpoison.errors import RunError, ScenarioError
from fedpoison.run_times import estimate
from fedpoison.store import RunFolder
from fedpoison.study import Study
from fedpoison.sweep import plan, sweep
from fedpoison.watch import Watch

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Stumbling(Attack):
    """Raise what is nobody's plan, until a file says that it is mended."""

    mended: str = ""

    card: ClassVar = Card(paper="-")

    def craft(self, own, seen, context):
        if not Path(self.mended).exists():
            raise ZeroDivisionError("of all things\nand more")
        return own


@pytest.fixture
def stumbling(tmp_path, monkeypatch):
    monkeypatch.setitem(ATTACKS, "stumbling", Stumbling)
    return f"stumbling(mended={tmp_path / 'mended'})"


@pytest.fixture
def study(small):
    axes = {"strategy": ["fedavg", "krum"], "malicious": [0.2, 0.4], "seed": [0, 1]}
    base = {field: value for field, value in small.content().items() if field not in axes}
    return Study.parse({"name": "tiny", "title": "Tiny", "base": base, "axes": axes})


def with_axes(study, **axes):
    return Study.parse(study.content() | {"axes": study.axes | axes})


def made(planned):
    """Carry out a plan, and return its results with the runs that were begun."""
    started = []
    watch = Watch(on_start=lambda scenario: started.append(scenario.run_id))
    return sweep(planned, jobs=1, watch=watch), started


def test_only_what_is_missing_is_made(study, tmp_path):
    first = plan(study, out=tmp_path)
    assert (len(first.cells), first.complete, len(first.failures), len(first.missing)) == (8, 0, 2, 6)
    results, started = made(first)
    assert started == [scenario.run_id for scenario in first.missing]
    assert list(results.failures.values()) == list(first.failures.values())
    assert all("needs n > 2f + 2" in reason for reason in results.failures.values())
    edited = with_axes(study, seed=[0, 1, 2], malicious=[0.2])
    second = plan(edited, out=tmp_path)
    assert (second.complete, len(second.failures), len(second.missing)) == (4, 0, 2)
    _, started = made(second)
    assert started == [cell.scenario.run_id for cell in second.cells if cell.place["seed"] == 2]
    assert not plan(edited, out=tmp_path).missing


def test_the_frames_hold_a_row_a_run_and_a_row_a_round(study, tmp_path):
    results, _ = made(plan(study, out=tmp_path / "runs"))
    results.write(tmp_path / "study")
    runs = pd.read_parquet(tmp_path / "study" / "runs.parquet")
    rounds = pd.read_parquet(tmp_path / "study" / "rounds.parquet")
    pd.testing.assert_frame_equal(runs, results.runs, check_dtype=False)
    assert list(runs.columns[:4]) == ["strategy", "malicious", "seed", "run_id"]
    assert (len(runs), len(rounds)) == (6, 6 * 4)
    assert runs["attack_success_rate"].dtype == "float64"
    for (cell, history), (_, row) in zip(results.histories.items(), runs.iterrows(), strict=True):
        assert {axis: row[axis] for axis in study.axes} == cell.place
        assert row["run_id"] == cell.scenario.run_id
        assert row["accuracy"] == history.last.accuracy
        assert [row[f"class_{label}"] for label in range(10)] == history.last.per_class_accuracy
        assert row["seconds"] == history.seconds
        mine = rounds[rounds["run_id"] == row["run_id"]]
        assert mine["round"].tolist() == [0, 1, 2, 3]
        assert mine["class_7"].tolist() == history.per_class()[7].tolist()
    written = pd.read_csv(tmp_path / "study" / "runs.csv")
    assert written["accuracy"].tolist() == runs["accuracy"].tolist()
    failures = pd.read_csv(tmp_path / "study" / "failures.csv")
    assert failures["strategy"].tolist() == ["krum", "krum"]
    assert Study.load(tmp_path / "study" / "study.toml") == study
    means = results.summary()
    mean = runs[(runs["strategy"] == "krum") & (runs["malicious"] == 0.2)]["accuracy"].mean()
    assert means.loc[("krum", 0.2), "accuracy"] == pytest.approx(mean)
    assert list(means.columns) == ["accuracy", "worst_class_accuracy"]


def test_a_failure_is_kept_and_only_tried_again_when_asked(study, stumbling, tmp_path):
    """An error of any kind is one line in the store; the other runs go on."""
    base = {field: value for field, value in study.base.items() if field != "attack"}
    axes = {"attack": ["none", stumbling], "seed": [0, 1]}
    crossed = Study.parse({"name": "crossed", "title": "Crossed", "base": base, "axes": axes})
    results, _ = made(plan(crossed, out=tmp_path))
    assert [cell.place["attack"] for cell in results.histories] == ["none", "none"]
    assert list(results.failures.values()) == ["ZeroDivisionError: of all things"] * 2
    failed = next(iter(results.failures)).scenario
    assert RunFolder(tmp_path / failed.run_id).failure == "ZeroDivisionError: of all things"
    again = plan(crossed, out=tmp_path)
    assert list(again.failures.values()) == list(results.failures.values())
    assert not again.missing
    (tmp_path / "mended").touch()
    results, started = made(plan(crossed, out=tmp_path, retry_failed=True))
    assert len(started) == 2
    assert not results.failures
    assert RunFolder(tmp_path / failed.run_id).failure is None


def test_what_only_the_data_refuse_is_a_failure_but_not_in_a_comparison(small, tmp_path):
    """A fleet that cannot be made is found before any training; whether the others go on is asked."""
    bad = small.but(clients=500, malicious=0.1)  # more clients than samples
    with pytest.raises(ScenarioError):
        run_all([bad, small], out=tmp_path, jobs=1)
    assert not list(tmp_path.iterdir())
    batch = run_all([bad, small.but(rounds=1)], out=tmp_path, jobs=1, keep_going=True)
    assert list(batch.failures) == [bad]
    assert len(batch.histories) == 1


def test_a_store_that_cannot_be_written_ends_the_sweep(study, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(RunError, match="cannot be written"):
        made(plan(study, out=blocked))


def test_the_time_is_that_of_comparable_runs(small, tmp_path):
    assert estimate([small], tmp_path, 1) is None
    short = small.but(rounds=2)
    run_all([short], out=tmp_path, jobs=1)
    folder = RunFolder(tmp_path / short.run_id)
    workers = json.loads((folder.path / "environment.json").read_text())["workers"]
    effort = folder.history().seconds * workers
    longer, other = small.but(rounds=20, strategy="median"), small.but(rounds=20, batch_size=4)
    assert estimate([longer], tmp_path, 2) == pytest.approx(effort * 10 / 2)
    assert estimate([longer, other], tmp_path, 1) == pytest.approx(2 * effort * 10)
    assert estimate([other], tmp_path, 1) is None


FLEET = """
name = "kill"
title = "A sweep whose driver is killed"

[base]
dataset = "digits"
train_samples = 300
test_samples = 200
clients = 6
rounds = 4
model = "mlp-small"
batch_size = 8

[axes]
attack = ["none", "sign-flip", "alie"]
strategy = ["fedavg", "median"]
seed = { from = 0, to = 3, step = 1 }
"""


def start(study, out, jobs):
    """Start a sweep from the command line, in a session of its own so that its children can be found."""
    return subprocess.Popen(
        [sys.executable, "-m", "fedpoison", "sweep", study, "--out", out, "--jobs", str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        start_new_session=True,
    )


def complete(out):
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/model.safetensors")}


def left_by(process):
    """Return the command lines of what is alive in the session of `process`."""
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, *_, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        if int(session) == process.pid and state != "Z" and command:
            left.append(command)
    return left


def outcome(folder):
    """Return what a run left, without what the clock adds."""
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    for line in lines:
        del line["training"]["seconds"]
    return lines, RunFolder(folder).weights()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds what is left behind in /proc")
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.ray)])
def test_a_killed_driver_loses_nothing_and_repeats_nothing(tmp_path, jobs):
    """Kill -9 in the middle of 24 runs; the second start makes the rest, as if nothing had happened."""
    study, out = tmp_path / "kill.toml", tmp_path / "runs"
    study.write_text(FLEET)
    process = start(study, out, jobs)
    deadline = time.monotonic() + 300
    while len(complete(out)) < 6:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)
        assert time.monotonic() < deadline
    process.kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    before = complete(out)
    assert 6 <= len(before) < 24
    while left_by(process):
        assert time.monotonic() < deadline, left_by(process)
        time.sleep(0.05)
    process = start(study, out, jobs)
    told, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert f"24 runs, {len(before)} complete, 0 failed, {24 - len(before)} to make" in told
    after = complete(out)
    assert len(after) == 24
    assert {run: after[run] for run in before} == before
    wanted = [cell.scenario for cell in Study.load(study).cells()]
    assert {scenario.run_id for scenario in wanted} == set(after)
    undisturbed = tmp_path / "undisturbed"
    run_all(wanted[::3], out=undisturbed, jobs=1)
    for scenario in wanted[::3]:
        lines, weights = outcome(out / scenario.run_id)
        expected, same = outcome(undisturbed / scenario.run_id)
        assert lines == expected
        assert all(torch.equal(weights[name], same[name]) for name in same)
    runs = pd.read_parquet(out / "studies" / "kill" / "runs.parquet")
    assert runs["run_id"].tolist() == [scenario.run_id for scenario in wanted]

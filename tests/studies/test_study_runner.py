"""A sweep makes what is missing, goes on past what fails, and survives the death of its driver."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import torch

from clients import ATTACKS
from clients.attacks.base import Attack, AttackCard
from experiments.kills import start_command
from fedpoison.errors import RunError, ScenarioError
from fedpoison.results.round import Failure
from fedpoison.results.store import StoredRun
from fedpoison.simulation.batch import BatchCallbacks, run_all
from fedpoison.studies.study import Study
from fedpoison.studies.study_result import StudyResults
from fedpoison.studies.study_runner import plan, sweep


@dataclass(frozen=True, kw_only=True)
class Stumbling(Attack):
    """Raise what is nobody's plan, until a file says that it is mended."""

    mended: str = ""

    card: ClassVar = AttackCard(paper="-")

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
    callbacks = BatchCallbacks(on_start=lambda scenario: started.append(scenario.run_id))
    return sweep(planned, jobs=1, callbacks=callbacks), started


def test_only_what_is_missing_is_made(study, tmp_path):
    first = plan(study, out=tmp_path)
    assert (len(first.cells), len(first.stored), len(first.failures), len(first.missing)) == (8, 0, 2, 6)
    results, started = made(first)
    assert started == [scenario.run_id for scenario in first.missing]
    assert list(results.failures.values()) == list(first.failures.values())
    assert all("needs n > 2f + 2" in failure.reason for failure in results.failures.values())
    edited = with_axes(study, seed=[0, 1, 2], malicious=[0.2])
    second = plan(edited, out=tmp_path)
    assert (len(second.stored), len(second.failures), len(second.missing)) == (4, 0, 2)
    _, started = made(second)
    assert started == [cell.scenario.run_id for cell in second.cells if cell.axis_labels["seed"] == 2]
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
        assert {axis: row[axis] for axis in study.axes} == cell.axis_labels
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
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        results.write(tmp_path / "file" / "study")


def test_a_failure_is_kept_and_only_tried_again_when_asked(study, stumbling, tmp_path):
    """An error of any kind is one line in the store; the other runs go on."""
    base = {field: value for field, value in study.base.items() if field != "attack"}
    axes = {"attack": ["none", stumbling], "seed": [0, 1]}
    crossed = Study.parse({"name": "crossed", "title": "Crossed", "base": base, "axes": axes})
    results, _ = made(plan(crossed, out=tmp_path))
    assert [cell.axis_labels["attack"] for cell in results.histories] == ["none", "none"]
    reasons = [failure.reason for failure in results.failures.values()]
    assert len(reasons) == 2
    assert all("the code raised ZeroDivisionError: of all things" in reason for reason in reasons)
    failed = next(iter(results.failures)).scenario
    assert StoredRun(tmp_path / failed.run_id).failure == next(iter(results.failures.values()))
    again = plan(crossed, out=tmp_path)
    assert list(again.failures.values()) == list(results.failures.values())
    assert not again.missing
    (tmp_path / "mended").touch()
    results, started = made(plan(crossed, out=tmp_path, retry_failed=True))
    assert len(started) == 2
    assert not results.failures
    assert StoredRun(tmp_path / failed.run_id).failure is None


def test_what_another_command_lost_is_made_and_what_was_refused_is_told(study, stumbling, small, tmp_path):
    """A comparison leaves both in the store; a sweep that meets them takes only a refusal for a result."""
    lost = small.replace(attack=stumbling)
    refused = small.replace(
        strategy="krum", participation=0.9, tolerated=3, attack="non-finite-update", malicious=0.3
    )
    batch = run_all([lost, refused], out=tmp_path, jobs=1)
    assert StoredRun(tmp_path / lost.run_id).failure == batch.failures[lost]
    for scenario, told in ((lost, []), (refused, [batch.failures[refused]])):
        base = {field: value for field, value in scenario.content().items() if field != "seed"}
        alone = Study.parse({"name": "one", "title": "One", "base": base, "axes": {"seed": [scenario.seed]}})
        planned = plan(alone, out=tmp_path)
        assert list(planned.failures.values()) == told
        assert planned.missing == ([] if told else [scenario])


def test_means_are_made_of_whole_combinations_only(study, tmp_path):
    results, _ = made(plan(with_axes(study, malicious=[0.2]), out=tmp_path))
    *whole, (lost, _) = results.histories.items()
    partial = StudyResults(results.study, dict(whole), {lost: Failure("gone")})
    assert partial.seeds[["asked", "ended"]].to_numpy().tolist() == [[2, 2], [2, 1]]
    assert partial.summary()["accuracy"].isna().tolist() == [False, True]
    assert partial.complete_runs["accuracy"].isna().tolist() == [False, False, True]
    assert partial.runs["accuracy"].notna().all()
    assert results.summary().notna().all(axis=None)


def test_what_only_the_data_refuse_is_a_failure_but_not_in_a_comparison(small, tmp_path):
    """A federation that cannot be made is found before any training; whether the others go on is asked."""
    bad = small.replace(clients=500, malicious=0.1)  # more clients than samples
    with pytest.raises(ScenarioError):
        run_all([bad, small], out=tmp_path, jobs=1)
    assert not list(tmp_path.iterdir())
    batch = run_all([bad, small.replace(rounds=1)], out=tmp_path, jobs=1, keep_going=True)
    assert list(batch.failures) == [bad]
    assert len(batch.histories) == 1


def test_a_store_that_cannot_be_written_ends_the_sweep(study, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(RunError, match="cannot be written"):
        made(plan(study, out=blocked))


STUDY = """
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
seed = [0, 1]
"""


def complete(out):
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/model.safetensors")}


def outcome(folder):
    """Return what a run left, without what the clock adds."""
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    for line in lines:
        del line["training"]["seconds"]
    return lines, StoredRun(folder).weights()


def test_a_killed_sweep_loses_nothing_and_repeats_nothing(tmp_path):
    """Kill it in the middle of 12 runs. The second start runs the rest as if nothing had been."""
    study, out, log = tmp_path / "kill.toml", tmp_path / "runs", tmp_path / "log"
    study.write_text(STUDY)
    wanted = [cell.scenario for cell in Study.load(study).cells()]
    command = ["sweep", study, "--out", out, "--jobs", 1]
    process = start_command(command, log)
    while len(complete(out)) < len(wanted) // 4:
        assert process.is_alive(), log.read_text()
        time.sleep(0.02)
    process.kill()
    process.join()
    before = complete(out)
    assert 0 < len(before) < len(wanted)
    process = start_command(command, log)
    process.join()
    told = " ".join(log.read_text().split())
    assert process.exitcode == 0, told
    assert f"{len(wanted)} runs, {len(before)} complete, 0 failed, {len(wanted) - len(before)} to run" in told
    after = complete(out)
    assert {run: after[run] for run in before} == before
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

import json
import subprocess
import sys

import pytest
import torch

from fedpoison.errors import RunError
from fedpoison.failure import Failure
from fedpoison.history import History
from fedpoison.rounds import Round
from fedpoison.simulation import simulate
from fedpoison.store import RunFolder


@pytest.fixture
def history(small, tmp_path) -> History:
    return simulate(small.but(attack="backdoor", strategy="krum"), out=tmp_path)


def test_the_folder_holds_the_run(history):
    names = {path.name for path in history.path.iterdir() if path.name != ".lock"}
    assert names == {"scenario.toml", "environment.json", "rounds.jsonl", "model.safetensors"}
    assert history.path.name == history.scenario.run_id
    environment = json.loads((history.path / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0] or "+" in torch.__version__


def test_it_is_read_back_as_it_was(history):
    read = RunFolder(history.path).history()
    assert read.scenario == history.scenario
    assert list(read.records) == list(history.records)


def test_the_frames_agree_with_the_records(history):
    rounds, classes = history.rounds(), history.per_class()
    assert rounds.index.tolist() == [0, 1, 2, 3]
    assert classes.shape == (4, 10)
    assert rounds["accuracy"].iloc[-1] == history.last.accuracy
    assert classes.iloc[-1].min() == history.last.worst_class_accuracy
    assert history.per_class_precision().shape == history.per_class_f1().shape == (4, 10)


def test_a_record_survives_json(history):
    for record in history.records:
        assert Round.from_json(record.to_json()) == record


def test_a_line_that_was_cut_off_is_left_out(history):
    lines = history.path / "rounds.jsonl"
    lines.write_text(lines.read_text()[:-40])
    RunFolder(history.path).model.unlink()
    assert [record.round for record in RunFolder(history.path).history().records] == [0, 1, 2]


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_complete_run_that_lacks_rounds_is_damaged(history, kept):
    lines = history.path / "rounds.jsonl"
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:kept]))
    with pytest.raises(RunError, match="its last record is not of round 3"):
        RunFolder(history.path).history()


@pytest.mark.parametrize("text", ["0", "[]", "null", '{"round": 1}'])
def test_a_record_that_is_none_is_named(history, text):
    lines = history.path / "rounds.jsonl"
    lines.write_text(f"{text}\n" + lines.read_text())
    with pytest.raises(RunError, match="line 1 is not a round's record"):
        RunFolder(history.path).history()


def test_a_run_that_another_process_makes_is_left_to_it(history, monkeypatch):
    monkeypatch.setattr("fedpoison.store.PATIENCE", 0.0)
    code = f"""
from pathlib import Path
from fedpoison.scenario import Scenario
from fedpoison.store import RunFolder
path = Path({str(history.path)!r})
folder = RunFolder.begin(path, Scenario.load(path / "scenario.toml"), {{}})
print("begun", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "begun\n"
        folder = RunFolder(history.path)
        with pytest.raises(RunError, match="another process is making this very run"):
            RunFolder.begin(history.path, history.scenario, {})
        folder.fail(history.scenario, Failure("not ours"))
        assert folder.failure is None
        other.communicate("\n")
    begun = RunFolder.begin(history.path, history.scenario, {})  # a lock ends with the process that held it
    begun.fail(history.scenario, Failure("ours"))
    assert folder.failure == Failure("ours")


def test_a_damaged_line_is_named(history):
    lines = history.path / "rounds.jsonl"
    content = lines.read_text().splitlines()
    lines.write_text("\n".join([content[0], "nonsense", *content[2:]]))
    with pytest.raises(RunError, match="line 2 is not a round's record"):
        RunFolder(history.path).history()


def test_an_unfinished_run_is_not_complete(small, tmp_path):
    def stop(record):
        if record.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(small, out=tmp_path, on_round=stop)
    folder = RunFolder(tmp_path / small.run_id)
    assert not folder.complete
    assert folder.failure is None
    assert [record.round for record in folder.history().records] == [0, 1, 2]


@pytest.mark.parametrize("failure", [Failure("round 1: too few", refused=True), Failure("lost")])
def test_a_failure_is_read_as_it_was_written(small, tmp_path, failure):
    folder = RunFolder(tmp_path / small.run_id)
    assert folder.failure is None
    folder.fail(small, failure)
    assert folder.failure == failure
    assert folder.settled == (failure if failure.refused else None)
    folder.fail(small, failure, settled=True)
    assert folder.settled == failure


def test_a_run_that_fails_is_not_complete_by_what_an_earlier_one_left(small, tmp_path):
    folder = RunFolder(simulate(small.but(rounds=1), out=tmp_path).path)
    folder.fail(small, Failure("lost"))
    assert not folder.complete
    assert not folder.rounds.exists()


def test_a_run_leaves_why_it_failed_and_how_far_it_came(small, tmp_path):
    """A single run too; and once it comes to its end, nothing tells of its failure any more."""

    def trip(record):
        if record.round == 2:
            raise ZeroDivisionError("of all things")

    with pytest.raises(ZeroDivisionError):
        simulate(small, out=tmp_path, on_round=trip)
    folder = RunFolder(tmp_path / small.run_id)
    assert folder.failure == Failure("ZeroDivisionError: of all things")
    assert [record.round for record in folder.history().records] == [0, 1, 2]
    simulate(small, out=tmp_path)
    assert folder.complete
    assert folder.failure is None


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        RunFolder(tmp_path).history()


def test_a_store_that_cannot_be_written_is_refused(small, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(RunError, match="cannot be written"):
        simulate(small, out=blocked)

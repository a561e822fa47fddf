"""A run's folder holds the run, is read back as it was, and says why a run failed."""

import json
import subprocess
import sys

import pytest
import torch

from fedpoison.cli.progress import describe
from fedpoison.errors import AggregationError, EngineError, RunError
from fedpoison.results.history import History
from fedpoison.results.round import Failure, Round
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import StoredRun, file_name
from fedpoison.simulation.run import simulate


@pytest.fixture
def history(small, tmp_path) -> History:
    return simulate(small.replace(attack="backdoor", strategy="krum"), out=tmp_path)


def test_the_folder_holds_the_run(history):
    names = {path.name for path in history.path.iterdir() if path.name != ".lock"}
    assert names == {"scenario.toml", "environment.json", "rounds.jsonl", "model.safetensors"}
    assert history.path.name == history.scenario.run_id
    environment = json.loads((history.path / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0] or "+" in torch.__version__


def test_it_is_read_back_as_it_was(history):
    read = StoredRun(history.path).history
    assert read.scenario == history.scenario
    assert list(read.records) == list(history.records)


def test_the_frames_agree_with_the_records(history):
    rounds, classes = history.to_frame(), history.per_class()
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
    StoredRun(history.path).model.unlink()
    assert [record.round for record in StoredRun(history.path).history.records] == [0, 1, 2]


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_complete_run_that_lacks_rounds_is_damaged(history, kept):
    lines = history.path / "rounds.jsonl"
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:kept]))
    with pytest.raises(RunError, match="its last record is not of round 3"):
        _ = StoredRun(history.path).history


@pytest.mark.parametrize("text", ["0", "[]", "null", '{"round": 1}'])
def test_a_record_that_is_none_is_named(history, text):
    lines = history.path / "rounds.jsonl"
    lines.write_text(f"{text}\n" + lines.read_text())
    with pytest.raises(RunError, match="line 1 is not a round's record"):
        _ = StoredRun(history.path).history


def test_a_run_that_another_process_makes_is_left_to_it(history, monkeypatch):
    monkeypatch.setattr("fedpoison.results.run_writer.LOCK_TIMEOUT", 0.0)
    code = f"""
from pathlib import Path
from fedpoison.scenario.scenario import Scenario
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import StoredRun
path = Path({str(history.path)!r})
writer = RunWriter.begin(path, Scenario.load(path / "scenario.toml"), {{}})
print("begun", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "begun\n"
        run = StoredRun(history.path)
        with pytest.raises(RunError, match="another process writes the same run"):
            RunWriter.begin(history.path, history.scenario, {})
        RunWriter(history.path).fail(history.scenario, Failure("not ours"))
        assert run.failure is None
        other.communicate("\n")
    begun = RunWriter.begin(history.path, history.scenario, {})  # a lock ends with the process that held it
    begun.release()
    run.model.unlink()
    RunWriter.begin(history.path, history.scenario, {}).fail(history.scenario, Failure("ours"))
    assert run.failure == Failure("ours")


def test_a_damaged_line_is_named(history):
    lines = history.path / "rounds.jsonl"
    content = lines.read_text().splitlines()
    lines.write_text("\n".join([content[0], "nonsense", *content[2:]]))
    with pytest.raises(RunError, match="line 2 is not a round's record"):
        _ = StoredRun(history.path).history


def test_an_unfinished_run_is_not_complete(small, tmp_path):
    def stop(record):
        if record.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(small, out=tmp_path, on_round=stop)
    run = StoredRun(tmp_path / small.run_id)
    assert not run.complete
    assert run.failure is None
    assert [record.round for record in run.history.records] == [0, 1, 2]


@pytest.mark.parametrize("failure", [Failure("round 1: too few", aggregation_failed=True), Failure("lost")])
def test_a_failure_is_read_as_it_was_written(small, tmp_path, failure):
    run, writer = StoredRun(tmp_path / small.run_id), RunWriter(tmp_path / small.run_id)
    assert run.failure is None
    writer.fail(small, failure)
    assert run.failure == failure
    assert run.permanent == (failure if failure.aggregation_failed else None)
    assert run.stopped == failure.aggregation_failed
    writer.fail(small, failure, permanent=True)
    assert run.permanent == failure
    assert (run.history.scenario, run.progress) == (small, (False, 0))


def test_a_later_failure_leaves_a_complete_run(small, tmp_path):
    run = StoredRun(simulate(small.replace(rounds=1), out=tmp_path).path)
    RunWriter(run.path).fail(small, Failure("lost"))
    assert run.complete
    assert run.failure is None
    assert run.rounds.exists()


@pytest.mark.parametrize("kept", [4, 200, -1])
def test_a_model_that_was_cut_off_is_damaged_and_not_complete(history, kept):
    run = StoredRun(history.path)
    run.model.write_bytes(run.model.read_bytes()[:kept])
    assert not run.complete
    with pytest.raises(RunError, match=r"model.safetensors: is damaged \(it was cut off\)"):
        _ = run.history
    assert StoredRun(simulate(history.scenario, out=history.path.parent).path).complete


def test_a_scenario_that_was_cut_off_is_not_read_as_another(history):
    path = history.path / "scenario.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))
    with pytest.raises(RunError, match=f"expected {history.scenario.run_id}"):
        _ = StoredRun(history.path).history


@pytest.mark.parametrize(
    ("old", "new"),
    [('"confusion": [[', '"confusion": null, "was": [['), ('"loss": ', '"loss": NaN, "was": '),
     ('"confusion": [[', '"confusion": [["a"], [')],
)  # fmt: skip
def test_a_record_with_other_values_is_named(history, old, new):
    lines = history.path / "rounds.jsonl"
    lines.write_text(lines.read_text().replace(old, new, 1))
    with pytest.raises(RunError, match="line 1 is not a round's record"):
        _ = StoredRun(history.path).history


def test_a_rate_without_samples_is_no_number_and_json_has_no_nan(small, tmp_path):
    attacked = small.replace(attack="label-flip(source=2, target=7)", test_samples=5, seed=1)
    history = simulate(attacked, out=tmp_path)
    assert 2 not in {label for label, row in enumerate(history.last.confusion) if sum(row)}
    assert history.last.source_to_target_rate is None
    assert "NaN" not in StoredRun(history.path).rounds.read_text()
    assert "nan" not in describe(history.last)


def test_a_run_leaves_why_it_failed_and_how_far_it_came(small, tmp_path):
    """A single run too; and once it comes to its end, nothing tells of its failure any more."""

    def trip(record):
        if record.round == 2:
            raise ZeroDivisionError("of all things")

    with pytest.raises(ZeroDivisionError):
        simulate(small, out=tmp_path, on_round=trip)
    run = StoredRun(tmp_path / small.run_id)
    assert run.failure == Failure("ZeroDivisionError: of all things")
    assert [record.round for record in run.history.records] == [0, 1, 2]
    simulate(small, out=tmp_path)
    assert run.complete
    assert run.failure is None


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="contains no run"):
        _ = StoredRun(tmp_path).history


def test_a_store_that_cannot_be_written_is_refused(small, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(RunError, match="cannot be written"):
        simulate(small, out=blocked)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (
            EngineError("Flower's run ended after 2 rounds:\nround 3\n  no node left\n"),
            Failure("Flower's run ended after 2 rounds: round 3 no node left"),
        ),
        (
            AggregationError("round 2: krum needs\nmore"),
            Failure("round 2: krum needs more", aggregation_failed=True),
        ),
        (ZeroDivisionError("of all things\nand more"), Failure("ZeroDivisionError: of all things")),
        (KeyError(), Failure("KeyError: ")),
    ],
)
def test_a_reason_is_one_line(error, failure):
    """What we raise is told whole, such as a log's end; of any other error, the first line."""
    assert Failure.from_error(error) == failure


def test_long_names_are_cut_and_stay_apart():
    names = [f"{'centered-clipping-' * 20}({parameter})" for parameter in "ab"]
    one, two = map(file_name, names)
    assert len(one) == len(two) < 170
    assert one != two
    assert one.startswith("centered-clipping-centered-clipping")
    assert file_name(names[0]) == one

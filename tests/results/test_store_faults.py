"""A store that cannot be written and files that cannot be read are named, and the rest stays readable."""

import builtins
import errno
import io
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from fedpoison.errors import RunError
from fedpoison.report.load import load_runs
from fedpoison.results.round import Round
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate, simulate_clean
from fedpoison.studies.comparison import compare

BASE = Scenario(
    dataset="digits", train_samples=40, test_samples=20, clients=4, rounds=3, model="mlp-small",
    malicious=0.25, strategy="median",
)  # fmt: skip
CALLS = {
    io: ["open"],
    builtins: ["open"],
    os: ["open", "mkdir", "replace", "rename", "unlink", "rmdir"],
}


@pytest.fixture
def broken_disk(monkeypatch):
    """Return a function that lets each write to paths with this text fail, from now on."""

    def install(code, text):
        def failing(call, name):
            def run(path, *arguments, **options):
                mode = next(iter(arguments), options.get("mode", "r"))
                reads = name == "open" and (mode == os.O_RDONLY or str(mode) in {"r", "rb"})
                if not reads and text in str(path):
                    raise OSError(code, os.strerror(code), str(path))
                return call(path, *arguments, **options)

            return run

        for module, names in CALLS.items():
            for name in names:
                if code == errno.ENOSPC and name in {"unlink", "rmdir"}:
                    continue  # a full disk does not keep files from being removed
                monkeypatch.setattr(module, name, failing(getattr(module, name), name))

    return install


DISK_FULL = "No space left on device"


FILES = ["rounds.jsonl", "model", "checkpoint", "scenario", "environment", "updates"]


@pytest.mark.parametrize("file", FILES)
def test_a_full_disk_is_named_and_finished_rounds_stay_readable(tmp_path, broken_disk, file):
    other = simulate(BASE.replace(seed=1), out=tmp_path)
    broken_disk(errno.ENOSPC, f"{BASE.run_id}/{file}")
    with pytest.raises(RunError, match=f"{BASE.run_id}.* cannot be written .*{DISK_FULL}"):
        simulate(BASE, out=tmp_path, checkpoint_every=1, keep_updates=[2])
    finished = {"checkpoint": [0, 1], "updates": [0, 1], "model": [0, 1, 2, 3]}
    if file in finished:
        run = StoredRun(tmp_path / BASE.run_id)
        assert [record.round for record in run.history.records] == finished[file]
        assert not run.complete
        assert DISK_FULL in run.failure.reason
    assert StoredRun(other.path).history.records == other.records


def test_a_run_continues_after_the_disk_was_full(tmp_path, broken_disk, monkeypatch):
    broken_disk(errno.ENOSPC, f"{BASE.run_id}/model")
    with pytest.raises(RunError, match=DISK_FULL):
        simulate(BASE, out=tmp_path, checkpoint_every=1)
    monkeypatch.undo()
    notices = []
    assert simulate(BASE, out=tmp_path, notify=notices.append).last.round == 3
    assert "continues after round 2 of 3" in notices[-1]
    assert StoredRun(tmp_path / BASE.run_id).failure is None


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_store_is_named_and_its_runs_are_read(tmp_path, broken_disk, code):
    first = simulate(BASE, out=tmp_path)
    broken_disk(code, str(tmp_path))
    for scenario in (BASE, BASE.replace(seed=1)):
        with pytest.raises(RunError, match=f"{scenario.run_id}: cannot be written .*; give another --out"):
            simulate(scenario, out=tmp_path)
    assert StoredRun(first.path).history.records == first.records
    assert StoredRun(first.path).complete
    assert torch.equal(StoredRun(first.path).weights()["1.bias"], StoredRun(first.path).weights()["1.bias"])
    assert len(load_runs([tmp_path]).runs) == 1
    assert simulate_clean(BASE, out=tmp_path).records == first.records


def test_a_comparison_of_complete_runs_needs_no_writable_store(tmp_path, broken_disk):
    found = compare(BASE, ["ipm"], ["median"], seeds=[0], out=tmp_path)
    broken_disk(errno.EROFS, str(tmp_path))
    again = compare(BASE, ["ipm"], ["median"], seeds=[0], out=tmp_path)
    assert again.to_frame().equals(found.to_frame())


def set_version(run, version):
    known = json.loads(run.provenance.read_text())
    known["packages"]["fedpoison"] = version
    run.provenance.write_text(json.dumps(known))


def future_scenario(run):
    run.scenario.write_text("colour = 'red'\n" + run.scenario.read_text())


def future_record(run):
    lines = run.rounds.read_text().splitlines(keepends=True)
    run.rounds.write_text("".join(line.replace('{"round"', '{"colour": 1, "round"') for line in lines))


def garbled_scenario(run):
    run.scenario.write_bytes(b"\xff\x00[")


def garbled_record(run):
    run.rounds.write_bytes(b"\xff\xfe\n" + run.rounds.read_bytes())


def garbled_last_record(run):
    run.rounds.write_text(run.rounds.read_text().replace('"confusion"', '"colour"'))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (future_scenario, "scenario.toml: cannot be read [(]unknown field 'colour'.*"),
        (future_record, "rounds.jsonl: line 1 is not a round's record [(].*colour.*"),
        (garbled_scenario, "scenario.toml: cannot be read [(].*is not valid TOML.*"),
        (garbled_record, "rounds.jsonl: is damaged [(].*"),
        (garbled_last_record, "rounds.jsonl: line 1 is not a round's record [(].*"),
    ],
)
def test_a_file_that_is_garbled_or_of_a_newer_version_is_named(tmp_path, change, fault):
    good = simulate(BASE.replace(seed=1, rounds=1), out=tmp_path)
    run = StoredRun(simulate(BASE.replace(rounds=1), out=tmp_path).path)
    change(run)
    for version in ("0.0.1", "99.0"):
        set_version(run, version)
        with pytest.raises(RunError, match=fault) as raised:
            _ = StoredRun(run.path).history
        newer = "fedpoison 99.0 wrote it, and this is" in str(raised.value)
        assert newer == (version == "99.0" and change is not garbled_record)
        assert ("update fedpoison" in str(raised.value)) == newer
    left = load_runs([tmp_path])
    assert [found.path for found in left.runs] == [good.path]
    assert fault.partition(":")[0] in left.left_out[str(run.path)]


def test_the_only_record_of_a_newer_version_is_not_taken_for_an_interrupted_line(tmp_path):
    path = simulate(BASE, out=tmp_path).path
    run = StoredRun(path)
    run.model.unlink()
    record = {**json.loads(run.rounds.read_text().splitlines()[0]), "colour": 1}
    run.rounds.write_text(json.dumps(record) + "\n")
    with pytest.raises(RunError, match="line 1 is not a round's record .*colour"):
        _ = run.history
    run.rounds.write_text(json.dumps(record)[:-3])
    assert StoredRun(path).history.records == []


def test_other_files_that_are_garbled_hide_no_result(tmp_path):
    run = StoredRun(simulate(BASE, out=tmp_path).path)
    run.provenance.write_bytes(b"\xff{")
    assert StoredRun(run.path).environment == {}
    assert StoredRun(run.path).history.last.round == 3
    (run.path / "failure.json").write_text('{"reason": "x", "colour": "red"}')
    assert StoredRun(run.path).failure.reason == "x"
    (run.path / "failure.json").write_bytes(b"\xff{")
    with pytest.raises(RunError, match="failure.json: is damaged"):
        _ = StoredRun(run.path).failure
    run.model.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
    assert not StoredRun(run.path).complete
    with pytest.raises(RunError, match="model.safetensors: cannot be read .*; run the scenario again"):
        StoredRun(run.path).weights()
    save_file({"of another model": torch.zeros(1)}, run.model)
    assert set(StoredRun(run.path).weights()) == {"of another model"}


def test_a_record_of_this_version_has_no_unknown_key():
    record = Round(round=0, confusion=[[1]], loss=0.5)
    assert Round.from_json(record.to_json()) == record

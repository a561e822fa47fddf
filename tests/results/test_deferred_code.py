"""Stored runs with the code of users: reading them runs no code, and running them does."""

import pickle
import shutil
import sys

import pytest

import fedpoison as fp
from fedpoison import own_code
from fedpoison.errors import RunError, ScenarioError
from fedpoison.results.store import StoredRun
from fedpoison.scenario import registries, schedules
from fedpoison.scenario.parsed_spec import DeferredSpec
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.replay import replay

CODE = """
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fedpoison.rules import Median
from fedpoison.scenario.schedules import Always

if Path({flag!r}).exists():
    raise RuntimeError("this code must not run")


def half(updates):
    return updates.mean(dim=0) / 2


def opposite(own, seen):
    return -seen.mean(dim=0).expand_as(own)


@dataclass(frozen=True, kw_only=True)
class Often(Always):
    "A schedule."


def make_net(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def half_of_the_digits():
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images[::2] / 16, found.target[::2]
"""
REGISTRIES = (registries.attacks, registries.strategies, schedules.schedules, registries.partitions)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a run of own rule, attack, schedule, model and data, and with its clean run."""
    folder = tmp_path_factory.mktemp("made")
    code = folder / "my_file.py"
    code.write_text(CODE.format(flag=str(folder / "flag")))
    scenario = Scenario(
        dataset=f"{code}:half_of_the_digits", model=f"{code}:make_net", clients=5, rounds=2, lr=0.05,
        groups=[f"{code}:opposite: count=1, schedule={code}:Often"], strategy=f"nnm | {code}:half",
    )  # fmt: skip
    runs = [
        fp.simulate(each, model="mlp" if each.clean else each.model, out=folder / "runs", keep_updates=[2])
        for each in (scenario, scenario.without_attack(None))
    ]
    return folder, runs


@pytest.fixture
def stored(made, tmp_path, monkeypatch):
    """The same store for a process that has read no code, when the code raises and the file is gone."""
    folder, runs = made
    monkeypatch.setattr(own_code, "_files", {})
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_own", {})
    for name in [name for name in sys.modules if name.startswith("my_file_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    (folder / "flag").touch()
    yield folder / "runs", runs
    (folder / "flag").unlink(missing_ok=True)


def test_records_frames_and_reports_need_no_code(stored, fedpoison, tmp_path):
    store, runs = stored
    attacked, clean = (fp.load_run(run.path) for run in runs)
    assert attacked.records == runs[0].records
    assert attacked.scenario.run_id == runs[0].scenario.run_id
    assert not attacked.scenario.clean
    assert clean.scenario.clean
    assert attacked.notes == runs[0].notes
    assert len(fp.load_runs(store).to_frame()) == 2
    assert len(attacked.to_frame()) == len(attacked.per_class()) == 3
    assert attacked.trust().equals(runs[0].trust())
    assert attacked.scenario.replace(seed=4).seed == 4
    assert pickle.loads(pickle.dumps(attacked.scenario)) == attacked.scenario  # noqa: S301  # our own bytes
    code, out, err = fedpoison("report", store, "--output", tmp_path / "report.html")
    assert code == 0, out + err
    assert "my_file.py" in (tmp_path / "report.html").read_text()
    assert not any(name.startswith("my_file_") for name in sys.modules)


def test_a_run_and_a_replay_execute_the_code(stored):
    store, (run, _) = stored
    history = fp.load_run(run.path)
    assert isinstance(history.scenario.strategy, DeferredSpec)
    with pytest.raises(ScenarioError, match="RuntimeError: this code must not run"):
        fp.simulate(history.scenario)
    with pytest.raises(ScenarioError, match="RuntimeError: this code must not run"):
        replay(run.path, 2, ["fedavg"])
    (store.parent / "flag").unlink()
    again = fp.simulate(history.scenario)
    assert [record.confusion for record in again.records] == [record.confusion for record in run.records]
    assert again.notes == run.notes


def test_the_code_of_a_changed_scenario_is_checked_before_it_runs(stored):
    store, (run, _) = stored
    (store.parent / "flag").unlink()
    changed = fp.load_run(run.path).scenario.replace(clients=2, groups=[])
    assert changed.with_code().strategy == changed.strategy
    assert not isinstance(changed.with_code().strategy, DeferredSpec)
    assert changed.with_code().with_code().aggregation == changed.aggregation


def test_a_stored_scenario_cannot_name_code_without_its_digest(stored, tmp_path):
    """Nobody but a run writes a stored scenario: a name without digest would execute any file."""
    _, (run, _) = stored
    for field, name in (
        ("strategy", f"{run.path}/code/x.py:half"), ("attack", "antigravity:geohash"), ("model", "x.py:Net")
    ):  # fmt: skip
        folder = tmp_path / field
        shutil.copytree(run.path, folder)
        (folder / "scenario.toml").write_text(f'{field} = "{name}"\n')
        with pytest.raises(RunError, match="got no digest of the code"):
            _ = StoredRun(folder).history
    assert "antigravity" not in sys.modules

"""Runs that start from a trained model: files, other runs, digests and errors."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import from_run_config, to_run_config
from fedpoison.scenario import initial as initial_models
from fedpoison.scenario.initial import read_initial
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

BASE = Scenario(
    dataset="digits", train_samples=120, test_samples=60, clients=4, rounds=3, batch_size=8, malicious=0,
    model="resnet20(width=2)",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a model with buffers, which saved the updates of its last round."""
    return simulate(BASE, out=tmp_path_factory.mktemp("runs"), keep_updates=[3])


@pytest.fixture
def state():
    return Federation.load(BASE).model().state_dict()


def test_a_run_continues_another_run(run):
    """The first record of a run is that of the model from which it starts."""
    last = simulate(BASE, initial=str(run.path), rounds=1).records[0]
    assert last.loss == run.last.loss
    before = simulate(BASE, initial=f"{run.path}:2", rounds=1).records[0]
    assert before.loss == run.records[2].loss
    assert simulate(BASE, initial=f"{run.path}:3", rounds=1).records[0].loss == run.last.loss


def test_files_of_ours_and_of_torch_with_equal_content_are_one_scenario(state, tmp_path):
    save_file(state, tmp_path / "weights.safetensors")
    torch.save(state, tmp_path / "weights.safetensors.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "nested.pt")
    digests = {
        read_initial(str(tmp_path / name)).partition("@")[2]
        for name in ("weights.safetensors", "weights.safetensors.pt", "nested.pt")
    }
    assert len(digests) == 1
    state["fc.bias"] = state["fc.bias"] + 1
    torch.save(state, tmp_path / "nested.pt")
    assert read_initial(str(tmp_path / "nested.pt")).partition("@")[2] not in digests


def test_the_run_id_depends_on_the_content_and_not_on_the_folder(run, state, tmp_path):
    started = BASE.replace(initial=str(run.path))
    assert started.run_id != BASE.run_id
    assert started.initial.startswith(f"{run.path.name}@")
    assert str(run.path.parent) not in started.to_toml()
    assert pickle.loads(pickle.dumps(started)).run_id == started.run_id  # noqa: S301  # written by this test


def test_another_process_needs_the_file(run, monkeypatch):
    started = BASE.replace(initial=str(run.path))
    config = {name: value for name, value in to_run_config(started).items() if value != ""}
    monkeypatch.setattr(initial_models, "_known", {})
    assert from_run_config(config)[0].run_id == started.run_id
    monkeypatch.setattr(initial_models, "_known", {})
    read = Scenario.parse(started.content())
    assert read.run_id == started.run_id
    with pytest.raises(ScenarioError, match="the content with this digest is not available"):
        Federation.load(read)


def test_a_run_id_alone_is_one_of_the_folder_runs(run, tmp_path, monkeypatch):
    (tmp_path / "runs").symlink_to(run.path.parent)
    monkeypatch.chdir(tmp_path)
    assert read_initial(run.path.name) == read_initial(str(run.path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("fc.bias"), r"has no fc\.bias, expected the names"),
        (lambda state: state.update(head=torch.zeros(1)), "has the unknown head, expected the names"),
        (
            lambda state: state.update({"fc.bias": torch.zeros(3)}),
            r"fc\.bias: got the shape \(3,\), expected \(10,\)",
        ),
        (lambda state: state["fc.bias"].fill_(torch.nan), r"fc\.bias contains NaN"),
    ],
)
def test_weights_of_another_model_are_refused_before_the_run(state, tmp_path, change, words):
    change(state)
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(ScenarioError, match=words):
        simulate(BASE, initial=str(tmp_path / "weights.safetensors"))


def test_what_is_no_state_dict_is_refused(run, tmp_path):
    class Code:
        def __reduce__(self):
            return (print, ("this must not run",))

    torch.save(Code(), tmp_path / "code.pt")
    torch.save({"optimizer": 3}, tmp_path / "other.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\0\0")
    (tmp_path / "words.pt").write_text("hello")
    (tmp_path / "table.pt").write_text("a,b\n0.5,x\n")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped/scenario.toml").write_text("rounds = 3\n")
    code = "it is no file of torch, or contains more than tensors"
    for place, words in (
        (tmp_path / "code.pt", code),
        (tmp_path / "words.pt", code),
        (tmp_path / "table.pt", code),
        (tmp_path / "module.pt", code),
        (tmp_path / "list.pt", "contains a list, expected the state dict of a model; save it with"),
        (tmp_path, "contains no scenario.toml, expected the folder of a run"),
        (tmp_path / "stopped", "has no model.safetensors, expected a complete run"),
        (f"{run.path}:9", "got round 9 of .*, expected at most its 3 rounds"),
        (tmp_path / "other.pt", "contains a dict with the keys optimizer, expected the state dict"),
        (tmp_path / "cut.safetensors", "cannot be loaded"),
        (tmp_path / "nowhere.pt", "does not exist, expected a file of weights"),
        (f"{tmp_path}/other.pt:3", "got round 3 of .*other.pt, expected the folder of a run"),
        (f"{run.path}:1", "after round 1 was not saved; run the scenario again with --keep-updates 2"),
    ):
        with pytest.raises(ScenarioError, match=words) as raised:
            BASE.replace(initial=str(place))
        assert "\n" not in str(raised.value)
    with pytest.raises(ScenarioError, match="initial: got a dict, expected the path of a file"):
        BASE.replace(initial={"fc.bias": torch.zeros(3)})
    assert BASE.replace(initial=run.path).run_id == BASE.replace(initial=str(run.path)).run_id

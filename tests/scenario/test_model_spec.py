"""Models as names with parameters, as files, as modules and as objects; their texts and their errors."""

import pickle

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fedpoison import own_code
from fedpoison.engines.options import EngineOptions
from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.models import Shape
from fedpoison.results.store import StoredRun
from fedpoison.scenario import model_spec
from fedpoison.scenario.model_spec import read_model
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import run_all
from fedpoison.simulation.replay import replay
from fedpoison.simulation.run import run_federation, simulate

SHAPE: Shape = (1, 28, 28)
TINY = {
    "dataset": "digits", "train_samples": 120, "test_samples": 60, "clients": 4, "rounds": 2, "batch_size": 8
}  # fmt: skip
FILE = """
from torch import nn


def make_net(shape, classes, *, width: int = 8, fail: bool = False):
    if fail:
        raise RuntimeError("no such width")
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, classes))


class Net(nn.Sequential):
    def __init__(self, num_classes=3, width=4):
        super().__init__(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, num_classes))


net = Net(10)
number = 3
not_a_net = len
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_nets.py"
    path.write_text(FILE)
    return path


def built(spec):
    return read_model(spec).value.build(SHAPE, 10, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("make_net", 8), ("make_net(width=5)", 5), ("Net", 4), ("Net(width=6)", 6), ("net", 4)],
)
def test_a_file_offers_builders_classes_and_models(file, name, hidden):
    model = built(f"{file}:{name}")
    assert model[1].out_features == hidden
    assert model[3].out_features == 10


def test_equal_models_have_one_text(file):
    assert read_model(f"{file}:make_net(width=8)") == read_model(f"{file}:make_net")
    assert read_model(f"{file}:make_net(width=9)") != read_model(f"{file}:make_net")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("make_net(widht=8)", "unknown parameter of .*my_nets.py:make_net.*: did you mean 'width'"),
        ("make_net(width=wide)", "width: Input should be a valid integer.*got 'wide'"),
        ("net(width=2)", "is a model, not a builder, and has no parameters"),
        ("number", "got int, expected a model or its builder"),
        ("make_net(fail=true)", r"make_net\(fail=true\): the code raised RuntimeError: no such width"),
        ("not_a_net", r"model my_nets\.py.*: the code raised TypeError"),
    ],
)
def test_an_error_of_a_model_is_one_line_before_the_run(file, name, words):
    with pytest.raises(ScenarioError, match=words) as raised:
        Federation.load(Scenario.parse(TINY | {"model": f"{file}:{name}"}))
    assert "\n" not in str(raised.value)


def test_a_registered_model_without_parameters_refuses_them():
    with pytest.raises(ScenarioError, match="mlp has no parameters"):
        read_model("mlp(width=3)")


def test_an_object_starts_from_its_own_weights():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    scenario = Scenario.parse(TINY | {"model": net})
    start = net[1].weight.detach().clone()
    net[1].weight.data.zero_()
    assert scenario.model.startswith("Sequential@")
    assert torch.equal(Federation.load(scenario).initial[:7840], start.flatten())
    assert Scenario.parse(TINY | {"model": net}).run_id != scenario.run_id
    again = pickle.loads(pickle.dumps(scenario))  # noqa: S301  # written by this test
    assert again == scenario
    assert torch.equal(Federation.load(again).initial, Federation.load(scenario).initial)


def test_a_stored_run_of_an_object_can_be_read_but_not_repeated_in_another_process(tmp_path, monkeypatch):
    history = simulate(model=nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), out=tmp_path, **TINY)
    monkeypatch.setattr(model_spec, "_objects", {})
    stored = StoredRun(history.path).history
    assert stored.scenario.run_id == history.scenario.run_id
    with pytest.raises(ScenarioError, match=r"expected the object again, as in model=MyNet\(\)"):
        Federation.load(stored.scenario)


def test_a_stored_run_keeps_the_file_and_can_be_replayed_without_it(file, tmp_path, monkeypatch):
    out = tmp_path / "runs"
    history = simulate(model=f"{file}:make_net", out=out, keep_updates=[2], **TINY)
    file.write_text("# gone\n")
    monkeypatch.setattr(own_code, "_files", {})
    results = replay(history.path, 2, ["fedavg"], influence=False).results
    assert results[0].record.loss == pytest.approx(history.last.loss)
    weights = load_file(history.path / "model.safetensors")
    nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10)).load_state_dict(weights)


@pytest.mark.ray
def test_files_and_objects_reach_the_processes_of_ray(file, tmp_path, shared_ray):
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    scenarios = [Scenario.parse(TINY | {"model": given}) for given in (f"{file}:make_net", net)]
    here = [simulate(scenario).last.loss for scenario in scenarios]
    found = run_all(scenarios, out=tmp_path / "runs", jobs=2)
    assert [found.histories[scenario].last.loss for scenario in scenarios] == here
    options = EngineOptions(engine="ray", workers=1)
    for scenario, loss in zip(scenarios, here, strict=True):
        assert run_federation(Federation.load(scenario), options).last.loss == loss


def test_flower_refuses_an_object():
    with pytest.raises(ScenarioError, match="engine flower: got the model object"):
        simulate(model=nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), engine="flower", **TINY)

"""Whole runs of models with buffers: aggregation, local buffers, engines, checkpoints, replay, errors."""

import logging

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import fedpoison as fp
from fedpoison.engines.local import device_grid
from fedpoison.engines.options import EngineOptions
from fedpoison.errors import ScenarioError
from fedpoison.federation.buffers import average_buffers, estimate_buffers
from fedpoison.federation.checkpoints import Checkpoints
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import PayloadError, Update, _read_buffers, named_record
from fedpoison.federation.server import run_server
from fedpoison.federation.workers import Workers
from fedpoison.report.write import write_report
from fedpoison.results.checkpoint import Checkpoint
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.centralized import train_centralized
from fedpoison.simulation.replay import replay
from fedpoison.simulation.run import run_federation, run_in_process, simulate

DEVICE = torch.device("cpu")


class BatchNormNet(nn.Module):
    """An own CNN with batch normalisation and an own forward."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5, stride=4)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 6 * 6, classes)

    def forward(self, images):
        return self.fc(torch.relu(self.norm(self.conv(images))).flatten(1))


class Embedded(nn.Module):
    """A model that looks up pixels in a table, and has no image layer."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 3)
        self.fc = nn.Linear(784 * 3, 10)

    def forward(self, images):
        return self.fc(self.table(images.clamp(0, 3).long().flatten(1)).flatten(1))


def net():
    torch.manual_seed(0)
    return BatchNormNet()


@pytest.fixture
def scenario():
    return Scenario(
        dataset="digits", train_samples=204, test_samples=60, clients=4, rounds=3, batch_size=10, lr=0.1,
        malicious=0.25, model=net(), root_samples=30,
    )  # fmt: skip


def test_the_model_of_a_run_can_be_loaded_and_predicts_as_in_the_run(scenario, tmp_path, digits):
    """51 samples per client: the last batch has a single sample."""
    history = simulate(scenario, out=tmp_path, attack="none", rounds=6)
    assert history.last.accuracy > 0.5
    assert not history.dropped
    model = BatchNormNet()
    model.load_state_dict(load_file(history.path / "model.safetensors"))
    test = Federation(history.scenario, digits).test
    model.eval()
    right = (model(test.images).argmax(dim=1) == test.labels).double().mean()
    assert float(right) == pytest.approx(history.last.accuracy)
    assert int(model.norm.num_batches_tracked) == 6 * 5


def test_trusted_clients_alone_determine_the_buffers():
    before = {"mean": torch.zeros(2), "count": torch.tensor(5)}
    updates = [
        Update(i, torch.zeros(1), 1, 0.0, {"mean": torch.full((2,), value), "count": torch.tensor(count)})
        for i, (value, count) in enumerate([(1.0, 7), (3.0, 9), (1e6, 10**6)])
    ]
    found = average_buffers(updates, torch.tensor([0.25, 0.75, 0.0]), before)
    assert found["mean"].tolist() == [2.5, 2.5]
    assert int(found["count"]) == 9
    assert average_buffers(updates, torch.zeros(3), before)["mean"].tolist() == [0, 0]


@pytest.mark.parametrize(
    "strategy", ["krum", "nnm | median | adam(lr=0.01)", "flwr:FedAvg", "fltrust", "flame"]
)
def test_any_strategy_aggregates_a_model_with_buffers(scenario, strategy):
    history = simulate(scenario, strategy=strategy, attack="ipm", tolerated=1, rounds=2, clients=5)
    assert not history.dropped


@pytest.mark.parametrize(
    "attack",
    ["chameleon", "clean-label", "critical-layers", "adaptive-trigger", "anticipate", "pixel-perturbation"],
)
def test_attacks_on_data_and_training_work_with_buffers_and_repeat(scenario, attack):
    one, two = (simulate(scenario, attack=attack, rounds=2) for _ in range(2))
    assert one.last.loss == two.last.loss
    assert not one.dropped


def test_three_runs_with_torch_dropout_are_equal_on_any_number_of_workers(scenario, recwarn):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))
    warnings = []
    losses = {
        simulate(scenario, model=model, workers=workers, notify=warnings.append).last.loss
        for workers in (1, 2, 3)
    }
    assert len(losses) == 1
    assert any("draws from torch's global random stream" in warning for warning in warnings)


def test_models_with_embeddings_and_frozen_or_tied_parameters_train(scenario, tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(784, 784), nn.Linear(784, 784)
            self.two.weight = self.one.weight
            self.frozen = nn.Linear(784, 784).requires_grad_(requires_grad=False)
            self.head = nn.Linear(784, 10)

        def forward(self, images):
            return self.head(self.two(self.frozen(self.one(images.flatten(1)))).tanh())

    for model in (Embedded(), Tied()):
        history = simulate(scenario, model=model, out=tmp_path, rounds=1, attack="sign-flip")
        assert not history.dropped
        model.load_state_dict(load_file(history.path / "model.safetensors"))


class TestLocalBuffers:
    """Each client keeps its own statistics, and the server estimates those of the global model."""

    def test_the_statistics_of_clients_stay_with_them(self, scenario, digits):
        federation = Federation(scenario.replace(buffers="local"), digits)
        assert federation.shared_buffers == {}
        averaged = run_in_process(Federation(scenario, digits), lambda _: None)
        local = run_in_process(federation, lambda _: None)
        assert int(averaged.buffers["norm.num_batches_tracked"]) == 3 * 5
        assert int(local.buffers["norm.num_batches_tracked"]) == 1  # one pass over the root data
        assert torch.equal(averaged.weights, local.weights)  # training normalises with each batch

    def test_the_estimate_is_the_mean_of_the_root_data(self, scenario, digits):
        federation = Federation(scenario.replace(buffers="local"), digits)
        with Workers(federation.model, scenario.training, 1) as workers:
            found = estimate_buffers(federation.initial, federation.initial_buffers, federation.root, workers)
        values = federation.model().conv(federation.root.images)
        torch.testing.assert_close(found["norm.running_mean"], values.mean(dim=(0, 2, 3)).detach())
        torch.testing.assert_close(found["norm.running_var"], values.var(dim=(0, 2, 3)).detach())

    def test_the_field_changes_the_run_id_and_the_default_does_not(self, scenario):
        assert scenario.replace(buffers="local").run_id != scenario.run_id
        assert "buffers" not in scenario.content()


@pytest.mark.parametrize("buffers", ["average", "local"])
def test_a_run_continues_from_a_checkpoint_with_the_same_bits(scenario, digits, tmp_path, buffers):
    federation = Federation(scenario.replace(buffers=buffers, attack="none"), digits)
    whole = run_in_process(federation, lambda _: None)
    saved = []
    run_in_process(
        federation, lambda _: None, checkpoints=Checkpoints(lambda each: saved.append(each.copy()), 2)
    )
    saved[0].write(tmp_path / "checkpoint.safetensors")
    start = Checkpoint.read(tmp_path / "checkpoint.safetensors", federation.scenario.run_id)
    rest = run_in_process(federation, lambda _: None, checkpoints=Checkpoints(lambda _: None, 2, start))
    assert torch.equal(whole.weights, rest.weights)
    for name, value in whole.buffers.items():
        assert torch.equal(value, rest.buffers[name])


@pytest.mark.parametrize("buffers", ["average", "local"])
def test_replay_repeats_the_round_and_the_report_shows_the_run(scenario, tmp_path, buffers):
    history = simulate(
        scenario, strategy="median", buffers=buffers, out=tmp_path, keep_updates=[3], tolerated=1
    )
    found = replay(history.path, 3, ["median", "fedavg"], influence=False)
    assert found.results[0].record.loss == pytest.approx(history.last.loss)
    assert found.results[1].record.loss != history.last.loss
    assert write_report([tmp_path], tmp_path / "report.html") is not None


def test_the_centralized_baseline_has_buffers(scenario, tmp_path):
    history = train_centralized(scenario, out=tmp_path, attack="label-flip")
    model = BatchNormNet()
    model.load_state_dict(load_file(history.path / "model.safetensors"))
    assert int(model.norm.num_batches_tracked) == 3 * 21


@pytest.mark.parametrize("buffers", ["average", "local"])
def test_stacks_fall_back_to_one_client_after_the_other(scenario, digits, caplog, buffers):
    federation = Federation(scenario.replace(buffers=buffers, attack="label-flip"), digits)
    expected = run_in_process(federation, lambda _: None)
    with (
        caplog.at_level(logging.WARNING),
        device_grid(federation, DEVICE, EngineOptions(workers=2)) as (grid, workers),
    ):
        found = run_server(federation, grid, workers, lambda _: None)
    torch.testing.assert_close(found.weights, expected.weights, rtol=1e-3, atol=1e-4)
    assert "cannot train in stacks (it has buffers)" in caplog.text
    assert "takes up to 4 times as long" in caplog.text


@pytest.mark.ray
def test_buffers_are_the_same_bits_in_ray(scenario, digits, shared_ray):
    for buffers in ("average", "local"):
        federation = Federation(scenario.replace(buffers=buffers), digits)
        there = run_federation(federation, EngineOptions(engine="ray", workers=1))
        assert there.last.loss == simulate(federation.scenario).last.loss


def test_unusable_buffers_are_a_reason_to_drop_a_reply():
    like = {"mean": torch.zeros(2)}
    assert torch.equal(_read_buffers(named_record(like), like)["mean"], torch.zeros(2))
    for bad, words in (
        ({"other": torch.zeros(2)}, "got buffers"),
        ({"mean": torch.zeros(3)}, "expected torch.float32 of shape"),
        ({"mean": torch.full((2,), torch.nan)}, "contains NaN"),
    ):
        with pytest.raises(PayloadError, match=words):
            _read_buffers(named_record(bad), like)


class Tuple(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1)), images


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 5)), {}, r"shape \(2, 5\) .* expected \(2, 10\)"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 12)),
            {},
            r"shape \(2, 12\) .* expected \(2, 10\)",
        ),
        (lambda: Tuple(784, 10), {}, "returned a tuple, expected one tensor of logits"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).double(), {}, "expected torch.float32"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).bfloat16(), {}, "expected torch.float32"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
            {},
            "on samples of shape .* cannot be multiplied",
        ),
        (nn.Flatten, {}, "got no trainable parameter"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), {}, "has lazy layers"),
        (net, {"batch_size": 1}, "batch_size: got 1 .* batch normalisation"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Tanh()),
            {"attack": "clean-label"},
            r"attack clean-label: .* expected a model whose output is that of an nn\.Linear",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Tanh()),
            {"groups": ["chameleon: count=1"], "malicious": 0.2},
            "attack chameleon: ",
        ),
    ],
)
def test_a_model_that_cannot_train_is_refused_in_one_line_before_the_run(scenario, model, changes, words):
    fields = scenario.content() | {"model": model()} | changes
    fields.pop("groups", None) if "groups" not in changes else None
    with pytest.raises(ScenarioError, match=words) as raised:
        fp.simulate(**fields)
    assert "\n" not in str(raised.value)

"""Fine-pruning removes the neurons of a stored run's model that clean samples do not use."""

import numpy as np
import pytest
import torch
from torch import nn

from clients.training.parameters import ModelState, flatten
from fedpoison.errors import RunError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.models import MODELS, build
from fedpoison.models.neurons import Neurons
from fedpoison.results.round import Round, Training
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.pruning import PrunedModel, _chosen, fine_prune
from fedpoison.simulation.run import simulate


def normed():
    convolution = [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *convolution,
        nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 11 * 11, 5),
    )


def model_named(name):
    generator = torch.Generator().manual_seed(0)
    return (normed() if name == "normed" else build(MODELS[name], (1, 28, 28), 10, generator)).eval()


IMAGES = torch.randn(7, 1, 28, 28, generator=torch.Generator().manual_seed(1))
NEURONS = {"cnn": 32, "lenet5": 16, "cnn-bucketing": 64, "normed": 6, "mlp": 200, "mlp-small": 32}


def block_end(model, name):
    """Return the position of the last layer of the neurons' block, by hand."""
    return {"cnn": 5, "lenet5": 5, "cnn-bucketing": 4, "normed": 6, "mlp": 4, "mlp-small": 2}[name]


@pytest.mark.parametrize("name", NEURONS)
def test_activations_are_means_over_samples_and_positions(name):
    model = model_named(name)
    neurons = Neurons.of(model)
    outputs = []
    model[block_end(model, name)].register_forward_hook(lambda *found: outputs.append(found[-1].detach()))
    model(IMAGES)
    values = outputs[0].double().numpy()
    expected = [
        np.mean([np.abs(sample[neuron]).mean() for sample in values]) for neuron in range(len(neurons))
    ]
    assert len(neurons) == NEURONS[name]
    np.testing.assert_allclose(neurons.activations(IMAGES).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("name", NEURONS)
def test_a_removed_neuron_is_zero_for_every_input_and_the_others_are_unchanged(name):
    model, masked = model_named(name), model_named(name)
    masked.load_state_dict(model.state_dict())
    removed = torch.tensor([0, 3])

    def silence(_module, _inputs, output):
        output = output.clone()
        output[:, removed] = 0
        return output

    masked[block_end(masked, name)].register_forward_hook(silence)
    Neurons.of(model).remove(removed)
    assert not torch.allclose(model_named(name)(IMAGES), masked(IMAGES))
    torch.testing.assert_close(model(IMAGES), masked(IMAGES))


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (lambda: model_named("logistic"), "no hidden layer"),
        (lambda: model_named("resnet20"), "got ResNet, whose layers are not a plain sequence"),
        (
            lambda: nn.Sequential(
                nn.Flatten(), nn.Linear(784, 3), nn.BatchNorm1d(3, affine=False), nn.Linear(3, 2)
            ),
            "layer 1 has no weights",
        ),
    ],
)
def test_models_without_such_neurons_are_refused(model, fault):
    with pytest.raises(ScenarioError, match=fault):
        Neurons.of(model())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    scenario = Scenario(
        dataset="digits", train_samples=400, test_samples=200, clients=5, rounds=2, model="mlp-small",
        lr=0.1, malicious=0.4, attack="backdoor",
    )  # fmt: skip
    return simulate(scenario, out=tmp_path_factory.mktemp("runs"), workers=1)


@pytest.fixture(scope="module")
def pruned(run):
    return fine_prune(run.path, shares=[0.5, 0.25], samples=60, epochs=2, workers=2)


def test_the_first_model_is_the_run_s(run, pruned):
    assert [model.share for model in pruned.models] == [0, 0.25, 0.5]
    assert [model.removed for model in pruned.models] == [0, 8, 16]
    whole = pruned.models[0].pruned
    assert whole.confusion == run.last.confusion
    assert whole.success == run.last.success
    assert whole.round == run.scenario.rounds


def test_the_least_active_neurons_are_removed_and_stay_zero(run, pruned):
    federation = Federation.load(run.scenario)
    order = federation.clean_samples(60)
    assert torch.equal(order.images[:5], federation.clean_samples(5).images)
    hidden = [name for name, _ in federation.layout][:2]
    trained = fine_prune(run.path, shares=[], samples=60, epochs=0).names
    values = (order.images.flatten(1) @ trained[hidden[0]].T + trained[hidden[1]]).relu().mean(dim=0)
    for model in pruned.models[1:]:
        named = federation.state_dict(model.state)
        silent = (named[hidden[0]] == 0).all(dim=1) & (named[hidden[1]] == 0)
        assert set(silent.nonzero().flatten().tolist()) == set(values.argsort()[: model.removed].tolist())
        assert not torch.equal(named[hidden[0]][~silent], trained[hidden[0]][~silent])


def test_the_result_depends_on_no_thread(run, pruned):
    again = fine_prune(run.path, shares=[0.25, 0.5], samples=60, epochs=2, workers=1)
    for one, other in zip(pruned.models, again.models, strict=True):
        assert torch.equal(one.state.weights, other.state.weights)
    assert pruned.to_frame().equals(again.to_frame())


def test_the_chosen_model_is_saved_and_starts_a_run(run, pruned, tmp_path):
    pruned.save(tmp_path / "pruned.safetensors")
    started = simulate(
        run.scenario, initial=str(tmp_path / "pruned.safetensors"), rounds=1, attack="none", workers=1
    )
    assert started.records[0].confusion == pruned.chosen.tuned.confusion
    assert flatten(pruned.names.values()).shape == pruned.chosen.state.weights.shape


def of_accuracy(share, accuracy):
    record = Round(round=1, confusion=[[1]], loss=0.0, training=Training())
    return PrunedModel(share, 0, accuracy, record, record, ModelState(torch.zeros(1)))


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [([0.9, 0.89, 0.86, 0.85], 2), ([0.9, 0.8, 0.9], 0), ([0.9], 0), ([0.9, 0.95, 0.91, 0.5], 2)],
)
def test_the_last_model_before_the_accuracy_falls_is_chosen(accuracies, chosen):
    models = [of_accuracy(0.1 * number, accuracy) for number, accuracy in enumerate(accuracies)]
    assert _chosen(models, 4.0) is models[chosen]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"shares": [1.0]}, "shares: got 0.0 to 1.0"),
        ({"shares": [-0.1]}, "shares: got -0.1"),
        ({"epochs": -1}, "epochs, points: got -1"),
        ({"points": 101}, "points: got 10, 101"),
        ({"samples": 401}, "samples: got 401, expected from 1 to 400"),
        ({"lr": -1.0, "samples": 9}, "lr"),
        ({"lr": 0.0, "samples": 9}, "lr"),
    ],
)
def test_impossible_arguments_are_refused(run, changes, fault):
    with pytest.raises(ScenarioError, match=fault):
        fine_prune(run.path, **changes)


def test_a_run_without_its_model_is_refused(run, tmp_path):
    for name in ("scenario.toml", "environment.json", "rounds.jsonl"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    with pytest.raises(RunError, match="is not complete"):
        fine_prune(tmp_path)


def test_a_learned_trigger_has_no_success(run, tmp_path):
    learned = simulate(run.scenario.replace(attack="adaptive-trigger", rounds=1), out=tmp_path, workers=1)
    frame = fine_prune(learned.path, shares=[], samples=60, epochs=0).to_frame()
    assert frame["success"].isna().all()

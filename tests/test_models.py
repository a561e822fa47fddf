"""The shipped models: shapes, sizes, torchvision as the reference, and learning in a few steps."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18 as torchvision_resnet18

from clients.training.local_training import LocalTraining
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.errors import ScenarioError
from fedpoison.federation.model_checks import model_facts
from fedpoison.models import MODELS
from fedpoison.scenario.model_spec import read_model
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

SMALL = {
    "resnet18": "resnet18(width=4)",
    "resnet18-gn": "resnet18-gn(width=4)",
    "resnet20": "resnet20(width=4)",
    "vgg11-gn": "vgg11-gn(width=4)",
}


def built(spec, shape=(3, 32, 32), classes=10):
    return read_model(spec).value.build(shape, classes, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted({*MODELS} - {"lstm"}))
@pytest.mark.parametrize(("shape", "classes"), [((1, 28, 28), 10), ((3, 32, 32), 62)])
def test_every_model_fits_the_images_and_classes(name, shape, classes):
    facts = model_facts(SMALL.get(name, name), shape, torch.float32, classes)
    assert not facts.draws_globally


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("logistic", (1, 28, 28), 7_850),
        ("resnet20", (3, 32, 32), 269_722),
        ("resnet18", (3, 224, 224), 11_181_642),
        ("vgg11-gn", (3, 32, 32), 9_228_362),
    ],
)
def test_the_sizes_are_those_of_the_papers(name, shape, parameters):
    assert sum(part.numel() for part in built(name, shape).parameters()) == parameters


def test_resnet18_is_that_of_torchvision():
    ours, theirs = built("resnet18", (3, 96, 96)), torchvision_resnet18(num_classes=10)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(images), theirs(images))


def test_group_normalisation_has_no_buffers_and_its_groups_divide_the_channels():
    for name in ("resnet18-gn(width=4)", "vgg11-gn(width=4, groups=3)"):
        model = built(name)
        assert not list(model.buffers())
        norms = [layer for layer in model.modules() if isinstance(layer, nn.GroupNorm)]
        assert norms
        assert all(layer.num_channels % layer.num_groups == 0 for layer in norms)


def test_logistic_regression_learns_the_digits():
    scenario = Scenario(
        dataset="digits", train_samples=300, test_samples=100, clients=3, rounds=4, malicious=0,
        batch_size=20, model="logistic",
    )  # fmt: skip
    assert simulate(scenario).last.accuracy > 0.7


@pytest.mark.parametrize("spec", ["resnet18(width=4)", "resnet18-gn(width=4)", "resnet20(width=4)"])
def test_a_deep_model_lowers_its_loss(spec):
    images = torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    samples = Samples(images, torch.arange(16) % 4, classes=4)
    trainer = Trainer(built(spec, (1, 16, 16), 4), LocalTraining(batch_size=8, lr=0.05, momentum=0.9))
    losses = [trainer.fit(samples, torch.Generator().manual_seed(epoch)) for epoch in range(25)]
    assert min(losses[-5:]) < 0.8 * losses[0]


def test_a_step_trains_every_parameter_of_vgg():
    images = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    samples = Samples(images, torch.arange(8) % 4, classes=4)
    model = built("vgg11-gn(width=4)", (1, 28, 28), 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Trainer(model, LocalTraining(batch_size=8, lr=0.1)).fit(samples, torch.Generator().manual_seed(0))
    assert not [name for name, value in model.state_dict().items() if torch.equal(value, before[name])]


def test_the_lstm_refuses_images():
    with pytest.raises(ScenarioError, match=r"model lstm: got samples of shape \(1, 8, 8\)"):
        built("lstm", (1, 8, 8))


def test_the_lstm_learns_which_token_comes_last():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, (64, 6), generator=generator)
    samples = Samples(tokens, tokens[:, -1], classes=5)
    model = built("lstm(vocabulary=5, hidden=16, layers=1)", (6,), 5)
    trainer = Trainer(model, LocalTraining(batch_size=16, lr=0.5, momentum=0.9, epochs=12))
    trainer.fit(samples, generator)
    assert (trainer.predict(samples.images).argmax(dim=1) == samples.labels).double().mean() > 0.9


def test_a_parameter_is_checked():
    with pytest.raises(ScenarioError, match="resnet18-gn: width: Input should be greater than or equal to 1"):
        read_model("resnet18-gn(width=0)")
    assert read_model("resnet18-gn(width=64)") == "resnet18-gn"

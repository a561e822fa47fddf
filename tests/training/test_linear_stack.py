"""Stacks of linear layers: the bits of autograd, and the models that need autograd."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from clients.training.linear_stack import LinearStack
from clients.training.local_training import LocalTraining
from clients.training.samples import Samples
from clients.training.trainer import Trainer

STACKS = {
    "one layer": [nn.Linear(48, 5)],
    "two layers": [nn.Linear(48, 200), nn.ReLU(), nn.Linear(200, 5)],
    "without bias": [nn.Linear(48, 30, bias=False), nn.ReLU(), nn.Linear(30, 5, bias=False)],
    "in place": [nn.Linear(48, 30), nn.ReLU(inplace=True), nn.Linear(30, 5)],
    "ReLU at both ends": [nn.ReLU(), nn.Linear(48, 30), nn.Linear(30, 5), nn.ReLU()],
}


def shared_layers():
    layer = nn.Linear(48, 48)
    return nn.Sequential(nn.Flatten(), layer, layer)


def hooked():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    model[1].register_forward_hook(lambda *_: None)
    return model


def frozen():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    model[1].bias.requires_grad = False
    return model


class OwnLinear(nn.Linear):
    """A linear layer that may do anything."""


OTHERS = {
    "convolution": lambda: nn.Sequential(nn.Conv2d(3, 5, 4), nn.Flatten()),
    "no flatten": lambda: nn.Sequential(nn.Linear(48, 5)),
    "flatten in part": lambda: nn.Sequential(nn.Flatten(2), nn.Linear(16, 5)),
    "dropout": lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(48, 5)),
    "own layer": lambda: nn.Sequential(nn.Flatten(), OwnLinear(48, 5)),
    "float64": lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).double(),
    "no parameter": lambda: nn.Sequential(nn.Flatten()),
    "shared layers": shared_layers,
    "hook": hooked,
    "frozen": frozen,
}


@pytest.mark.parametrize("count", [1, 16, 33])
@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS)
def test_loss_and_gradients_are_the_bits_of_autograd(layers, count):
    model = nn.Sequential(nn.Flatten(), *layers)
    generator = torch.Generator().manual_seed(count)
    images = torch.randn(count, 3, 4, 4, generator=generator).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(5, (count,), generator=generator)
    expected = cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    found, ours = LinearStack.of(model)(images, labels)
    assert found.equal(expected)
    assert len(ours) == len(gradients)
    assert all(map(torch.equal, ours, gradients))


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_models_need_autograd(make):
    assert LinearStack.of(make()) is None


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"proximal": 0.1, "weight_decay": 0.01}], ids=str)
def test_training_ends_in_the_same_weights(options, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(50, 1, 6, 8, generator=generator), torch.arange(50) % 5
    weights = []
    for stack in (LinearStack.of, lambda _: None):
        monkeypatch.setattr(LinearStack, "of", stack)
        model = nn.Sequential(nn.Flatten(), *STACKS["two layers"])
        trainer = Trainer(model, LocalTraining(epochs=2, batch_size=8, **options))
        trainer.load(torch.full((len(trainer.weights()),), 0.01))
        trainer.fit(Samples(images, labels, 5), torch.Generator().manual_seed(1))
        weights.append(trainer.weights())
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(torch.full_like(weights[0], 0.01))

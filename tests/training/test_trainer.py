import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.nn.functional import cross_entropy

from clients.training.local_training import LocalTraining, batches
from clients.training.parameters import flatten, layout_of, split
from clients.training.trainer import Trainer
from fedpoison.models import MODELS, build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reference(model, samples, training, start, *, momentum_buffer=None):
    """Train with torch.optim.SGD and a loss that spells out FedProx's term."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay
    )
    for index in batches(len(samples), training, generator()):
        loss = cross_entropy(model(samples.images[index]), samples.labels[index])
        distance = sum(((p - s) ** 2).sum() for p, s in zip(model.parameters(), start, strict=True))
        optimizer.zero_grad()
        (loss + training.proximal / 2 * distance).backward()
        optimizer.step()
    return flatten(model.parameters())


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"epochs": 3},
        {"steps": 11},
        {"momentum": 0.9},
        {"weight_decay": 0.01},
        {"proximal": 0.5, "epochs": 2},
        {"momentum": 0.5, "weight_decay": 0.1, "proximal": 0.1, "steps": 9},
    ],
    ids=repr,
)
def test_agrees_with_torchs_own_optimizer(trainer, samples, parameters):
    training = LocalTraining(batch_size=8, lr=0.1, **parameters)
    weights = trainer.weights()
    trainer.load(weights)
    trainer.fit(samples, generator(), training=training)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    for parameter, value in zip(model.parameters(), split(weights, layout_of(model)), strict=True):
        parameter.data.copy_(value)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    torch.testing.assert_close(
        trainer.weights(), reference(model, samples, training, start), rtol=1e-5, atol=1e-6
    )


def test_an_epoch_sees_every_sample_once():
    seen = torch.cat(list(batches(50, LocalTraining(batch_size=8), generator())))
    assert seen.sort().values.tolist() == list(range(50))


@pytest.mark.parametrize(("count", "steps"), [(50, 3), (50, 20), (5, 7)])
def test_steps_are_counted(count, steps):
    training = LocalTraining(batch_size=8, steps=steps)
    assert len(list(batches(count, training, generator()))) == steps


def test_worker_momentum_is_kept_between_rounds(trainer, samples):
    """Two rounds from the same weights with a kept buffer equal one run of the same steps without a reset."""
    training = LocalTraining(batch_size=60, lr=0.1, momentum=0.9, persistent_momentum=True, steps=1)
    memory = {}
    trainer.fit(samples, generator(), training=training, memory=memory)
    first = memory["momentum"].clone()
    trainer.fit(samples, generator(), training=training, memory=memory)
    gradient = memory["momentum"] - 0.9 * first
    assert float(gradient.norm()) > 0
    assert not torch.allclose(memory["momentum"], first)
    fresh = {}
    trainer.fit(
        samples, generator(), training=LocalTraining(steps=1, batch_size=60, momentum=0.9), memory=fresh
    )
    assert fresh == {}


def test_hooks_reach_gradients_steps_and_loss(trainer, samples):
    start = trainer.weights()
    trainer.fit(samples, generator(), on_gradient=lambda gradients: [g.zero_() for g in gradients])
    assert torch.equal(trainer.weights(), start)
    trainer.fit(samples, generator(), on_step=lambda parameters: [p.data.fill_(2.0) for p in parameters])
    assert bool((trainer.weights() == 2).all())
    mean = trainer.fit(samples, generator(), loss=lambda model, images, labels: model(images).sum() * 0 + 7)
    assert mean == pytest.approx(7)


@pytest.mark.parametrize("name", ["mlp-small", "resnet20"])
def test_the_gradient_is_that_of_evaluation_mode(name):
    model = build(MODELS[name], (1, 28, 28), 10, generator())
    trainer = Trainer(model, LocalTraining())
    images, labels = torch.randn(3, 1, 28, 28, generator=generator(1)), torch.tensor([1, 0, 9])
    before, buffers = trainer.weights(), trainer.buffers()
    loss, gradient = trainer.gradient(images, labels)
    assert model.training
    assert torch.equal(trainer.weights(), before)
    assert all(torch.equal(buffers[key], value) for key, value in trainer.buffers().items())
    expected = cross_entropy(model.eval()(images), labels)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(
        gradient, flatten(torch.autograd.grad(expected, [*model.parameters()])), rtol=1e-4, atol=1e-6
    )


def test_bf16_stays_close(trainer, samples):
    start = trainer.weights()
    trainer.fit(samples, generator(), training=LocalTraining(batch_size=8))
    exact = trainer.weights() - start
    trainer.load(start)
    trainer.fit(samples, generator(), training=LocalTraining(batch_size=8, precision="bf16"))
    rounded = trainer.weights() - start
    assert not torch.equal(exact, rounded)
    assert float((exact - rounded).norm() / exact.norm()) < 0.05


@pytest.mark.parametrize(
    "parameters",
    [{"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"momentum": -1}, {"steps": -1}],
    ids=repr,
)
def test_impossible_training_is_refused(parameters):
    with pytest.raises(ValueError, match="expected"):
        LocalTraining(**parameters)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cnn", 28_938),
        ("cnn-mcmahan", 1_663_370),
        ("lenet5", 61_706),
        ("mlp", 199_210),
        ("mlp-small", 25_450),
        ("cnn-byzfl", 431_080),
        ("cnn-bucketing", 1_199_882),
    ],
)
def test_models_have_the_size_that_they_should(name, parameters):
    model = build(MODELS[name], (1, 28, 28), 10, generator())
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert build(MODELS[name], (3, 32, 32), 7, generator())(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_pooling_before_relu_changes_nothing():
    values = torch.randn(2, 3, 8, 8, generator=generator())
    pool, relu = torch.nn.MaxPool2d(2), torch.nn.ReLU()
    assert torch.equal(relu(pool(values)), pool(relu(values)))


def test_the_bucketing_model_computes_what_its_authors_compute():
    # Their forward pass has no ReLU between the second convolution and the pooling.
    model = build(MODELS["cnn-bucketing"], (1, 28, 28), 10, generator()).eval()
    first, first_bias, second, second_bias, hidden, hidden_bias, last, last_bias = model.parameters()
    images = torch.randn(3, 1, 28, 28, generator=generator(1))
    maps = functional.conv2d(functional.conv2d(images, first, first_bias).relu(), second, second_bias)
    pooled = functional.max_pool2d(maps, 2)
    assert bool((pooled < 0).any())
    features = functional.linear(pooled.flatten(1), hidden, hidden_bias).relu()
    torch.testing.assert_close(model(images), functional.linear(features, last, last_bias))


def test_flat_weights_are_found_again():
    model = build(MODELS["lenet5"], (1, 28, 28), 10, generator())
    vector = flatten(model.parameters())
    parts = split(vector, layout_of(model))
    for part, parameter in zip(parts, model.parameters(), strict=True):
        assert torch.equal(part, parameter)
    trainer = Trainer(model, LocalTraining())
    trainer.load(torch.arange(len(vector), dtype=torch.float32))
    np.testing.assert_array_equal(trainer.weights(), np.arange(len(vector)))

"""Trainers of any module: buffers, frozen and unused parameters, the global stream, the classifier."""

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from clients.training.batch import why_not_stacked
from clients.training.global_stream import draws_globally
from clients.training.local_training import LocalTraining, batches
from clients.training.parameters import buffers_of, layout_of
from clients.training.samples import Samples
from clients.training.trainer import Trainer


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def samples(count=9):
    images = torch.randn(count, 1, 4, 4, generator=stream(1))
    return Samples(images, torch.randint(3, (count,), generator=stream(2)), classes=3)


def seeded(build):
    torch.manual_seed(0)
    return build()


class Constants(nn.Module):
    """A model with a stored counter, a buffer that is not stored, and an own forward."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("last", torch.zeros(16), persistent=False)
        self.body = nn.Linear(16, 8)
        self.unused = nn.Linear(2, 2)
        self.frozen = nn.Linear(8, 8).requires_grad_(requires_grad=False)
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        flat = images.flatten(1)
        if self.training:
            self.seen += len(images)
            self.last = flat.mean(dim=0).detach()
        return self.head(self.frozen(self.body(flat + self.last)).relu())


class GlobalDropout(nn.Module):
    """A model that draws with a function, where no layer shows it."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 3)

    def forward(self, images):
        return self.fc(dropout(images.flatten(1), 0.5, self.training))


def test_buffers_are_the_stored_ones_and_frozen_parameters_are_not_in_the_layout():
    model = Constants()
    assert [*buffers_of(model)] == ["seen"]
    assert "frozen.weight" not in [name for name, _ in layout_of(model)]


def test_tied_parameters_occur_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert [name for name, _ in layout_of(model)] == ["0.weight", "0.bias", "1.bias"]


def test_a_client_leaves_nothing_behind_for_the_next_client():
    trainer = Trainer(seeded(Constants), LocalTraining(batch_size=4))
    start, buffers = trainer.weights(), trainer.buffers()
    trained = []
    for _ in range(2):
        trainer.load(start, buffers)
        trainer.fit(samples(), stream())
        trained.append((trainer.weights(), trainer.buffers()["seen"]))
    assert torch.equal(trained[0][0], trained[1][0])
    assert trained[0][1] == trained[1][1] == 9


def test_unused_parameters_stay_and_frozen_ones_too():
    model = seeded(Constants)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Trainer(model, LocalTraining(batch_size=4)).fit(samples(), stream())
    after = model.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert same == {"unused.weight", "unused.bias", "frozen.weight", "frozen.bias"}


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(9, 4, [4, 5]), (8, 4, [4, 4]), (5, 4, [5]), (1, 4, [2]), (3, 2, [3]), (6, 4, [4, 2])],
)
def test_no_batch_has_a_single_sample(count, size, expected):
    found = list(batches(count, LocalTraining(batch_size=size), stream(), no_single=True))
    assert [len(batch) for batch in found] == expected
    assert {int(index) for batch in found for index in batch} == {*range(count)}


@pytest.mark.parametrize("count", [1, 5, 9])
def test_batch_norm_trains_when_the_last_batch_has_one_sample(count):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    trainer = Trainer(model, LocalTraining(batch_size=4))
    assert trainer.fit(samples(count), stream()) > 0
    assert trainer.features(samples(count).images).shape == (count, 8)
    assert trainer.loss(samples(count).images[:1], samples(count).labels[:1]).isfinite()


def test_batch_norm_agrees_with_torch():
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    training, data, reference = LocalTraining(batch_size=4, momentum=0.9), samples(8), seeded(build)
    optimizer = torch.optim.SGD(reference.parameters(), lr=training.lr, momentum=training.momentum)
    for index in batches(8, training, stream()):
        optimizer.zero_grad()
        nn.functional.cross_entropy(reference(data.images[index]), data.labels[index]).backward()
        optimizer.step()
    trainer = Trainer(seeded(build), training)
    trainer.fit(data, stream())
    found = trainer.model.state_dict()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize(
    "build",
    [
        GlobalDropout,
        lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)),
        lambda: nn.Sequential(nn.Flatten(), nn.RReLU(), nn.Linear(16, 3)),
    ],
)
def test_the_global_stream_is_seeded_from_the_client_and_restored(build):
    found = []
    for global_seed in (1, 2):
        trainer = Trainer(seeded(build), LocalTraining(batch_size=4))
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        trainer.fit(samples(), stream())
        assert torch.equal(torch.get_rng_state(), before)
        found.append(trainer.weights())
    other = Trainer(seeded(build), LocalTraining(batch_size=4))
    other.fit(samples(), stream(5))
    assert torch.equal(*found)
    assert not torch.equal(found[0], other.weights())


def test_a_fixed_dropout_mask_holds_for_torch_dropout_too():
    """With one mask for all steps, the columns that it drops get no gradient."""
    trainer = Trainer(seeded(GlobalDropout), LocalTraining(batch_size=16, steps=3, dropout_seed=4))
    before = trainer.model.fc.weight.detach().clone()
    data = samples(2)
    trainer.fit(data, stream())
    torch.manual_seed(4)
    kept = dropout(torch.ones(2, 16), 0.5).ne(0).any(dim=0)
    changed = (trainer.model.fc.weight.detach() != before).any(dim=0)
    assert torch.equal(changed, kept)


def test_a_model_that_draws_in_evaluation_predicts_the_same_twice():
    class Noisy(GlobalDropout):
        def forward(self, images):
            return self.fc(dropout(images.flatten(1), 0.5, training=True))

    trainer = Trainer(Noisy(), LocalTraining())
    assert draws_globally(Noisy(), samples().images) == (True, True)
    assert torch.equal(trainer.predict(samples().images), trainer.predict(samples().images))


def test_the_classifier_is_the_linear_layer_at_the_end():
    model = Constants()
    trainer = Trainer(model, LocalTraining())
    assert trainer.classifier(samples().images) is model.head
    assert int(model.seen) == 0
    features = trainer.features(samples().images)
    torch.testing.assert_close(model.head(features), trainer.model(samples().images) * 1, rtol=1, atol=1)
    assert features.shape == (9, 8)
    with pytest.raises(ValueError, match=r"expected a model whose output is that of an nn\.Linear"):
        Trainer(nn.Sequential(model, nn.Tanh()), LocalTraining()).classifier(samples().images)


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(ValueError, match="got no trainable parameter"):
        Trainer(nn.Flatten(), LocalTraining())


def test_models_that_cannot_be_stacked_say_why():
    images = samples().images
    assert why_not_stacked(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), images) is None
    assert why_not_stacked(Constants(), images) == "it has buffers"
    assert "random" in why_not_stacked(GlobalDropout().train(), images)

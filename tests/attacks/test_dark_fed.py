"""DarkFed trains on shadow images alone, and its updates look benign as in the authors' code."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import dark_fed as oracle
from poisoning import arrays, build_context, flat, linear, poisoned_by

import fedpoison as fp
from clients.attacks.base import CraftContext, OwnTraining
from clients.attacks.training.dark_fed import BATCH, DarkFed, reduced
from clients.training.local_training import LocalTraining
from clients.training.parameters import layout_of
from fedpoison.errors import ScenarioError
from fedpoison.scenario.attack_data import locate_attack_data


class Attacker:
    """Fake clients whose rounds pass one after the other."""

    def __init__(self, attack, trainer, samples, *, m=2):
        self.attack, self.trainer, self.m = attack, trainer, m
        self.models, self.memory = [trainer.weights()], {}
        self.samples = [
            poisoned_by(attack, samples, trainer, poison_generator=torch.Generator().manual_seed(client))
            for client in range(m)
        ]

    def send(self):
        def at_start():
            self.trainer.load(self.models[-1])
            return self.trainer

        context = CraftContext(
            generator=torch.Generator().manual_seed(len(self.models)),
            round=len(self.models),
            client_ids=tuple(range(self.m)),
            model=self.models[-1],
            layout=layout_of(self.trainer.model),
            memory=self.memory,
            own_training=OwnTraining(trainer=at_start, samples=self.samples.__getitem__),
        )
        return self.attack.craft(torch.zeros(self.m, len(self.models[-1])), None, context)


@pytest.mark.parametrize("shadow", ["noise", "texture", "vignette"])
def test_the_client_trains_on_shadow_images_alone(samples, trainer, shadow):
    attack = DarkFed(target=3, share=0.25, images=40, shadow=shadow)
    made = poisoned_by(attack, samples, trainer)
    assert len(made) == 40
    other = replace(samples, images=torch.zeros_like(samples.images), labels=1 - samples.labels.clamp(0, 1))
    assert made.same_as(poisoned_by(attack, other, trainer))
    pixels = made.pixels()
    assert float(pixels.min()) > -1e-5
    assert float(pixels.max()) < 1 + 1e-5
    assert float(pixels.std()) > 0.2
    assert (float(pixels[..., 0, 0].max()) < 0.1) == (shadow == "vignette")
    clean, stamped = made.split_poisoned()
    assert len(stamped) == 10
    assert set(stamped.labels.tolist()) == {3}
    assert torch.equal(clean.labels, trainer.predict(clean.images).argmax(dim=1))


def test_shadow_images_can_be_those_of_another_data_set(samples, trainer, tmp_path):
    random, path = np.random.default_rng(0), tmp_path / "shadow.npz"
    images = random.integers(0, 256, (70, 8, 8)).astype(np.uint8)
    labels = np.arange(70) % 7
    np.savez(path, x_train=images, y_train=labels, x_test=images[:7], y_test=labels[:7])
    attack = DarkFed(dataset=f"npz(path={path})", images=60, keep=0.5, share=0.0)
    made = poisoned_by(attack, samples, trainer)
    assert len(made) == 35
    pixels = (255 * made.pixels()[:, 0]).round().numpy().astype(np.uint8)
    assert len({image.tobytes() for image in pixels}) == 35
    assert {image.tobytes() for image in pixels} <= {image.tobytes() for image in images}
    spec = f"darkfed(dataset=npz(path={path}))"
    assert "content=" in locate_attack_data(spec)
    np.savez(path, x_train=images[:, 0], y_train=labels, x_test=images[:7, 0], y_test=labels[:7])
    with pytest.raises(ScenarioError, match="attack darkfed.*: dataset: got .* with samples of the shape"):
        fp.simulate(dataset="digits", train_samples=100, clients=5, attack=spec)


@pytest.mark.parametrize("keep", [0.1, 0.4, 1.0])
def test_the_reduction_keeps_images_that_differ(keep):
    images = torch.rand(BATCH + 20, 1, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    outputs = torch.randn(BATCH + 20, 4, generator=torch.Generator().manual_seed(1)).double()
    expected = oracle.reduced(images.flatten(1).numpy(), outputs.numpy(), keep, 7, BATCH)
    assert reduced(images, outputs, keep, 7).tolist() == expected


@pytest.mark.parametrize(("magnitude", "direction"), [(0.5, 0.5), (0.0, 3.0)])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_fake_clients_train_one_after_the_other(samples, trainer, share, magnitude, direction):
    trainer.training = LocalTraining(batch_size=40, lr=0.1, epochs=4, momentum=0.9, weight_decay=0.1)
    start = linear(trainer)
    attack = DarkFed(
        target=3, share=share, images=30, pace=0.2, magnitude=magnitude, direction=direction, logit=8.0
    )
    attacker = Attacker(attack, trainer, samples, m=3)
    others = []
    for own, sent in zip(attacker.samples, attacker.send(), strict=True):
        images, _ = arrays(own)
        targets = images @ start[0].T + start[1]
        targets[own.poison_mask().numpy()] = [8.0 if label == 3 else -1.0 for label in range(10)]
        settings = {"steps": 4, "lr": 0.02, "magnitude": magnitude, "direction": direction}
        weights = oracle.trained(start, (images, targets, own.poison_mask().tolist()), others, **settings)
        expected = flat(*weights) - flat(*start)
        np.testing.assert_allclose(sent, expected, atol=2e-5)
        others.append(expected)


@pytest.mark.parametrize(("forecast", "formula"), [("smoothing", "predicted"), ("authors", "misplaced")])
@pytest.mark.parametrize("a", [0.3, 0.8])
def test_the_next_model_is_predicted(samples, trainer, forecast, formula, a):
    attack = DarkFed(images=10, forecast=forecast, smoothing=a)
    models = torch.randn(4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    memory = {}
    for known in range(1, 5):
        context = CraftContext(generator=torch.Generator(), model=models[known - 1], memory=memory)
        step = attack._predicted_step(context)
        if known == 1:
            assert step is None
            continue
        expected = np.array(getattr(oracle, formula)(models[:known].tolist(), a)) - models[known - 1].numpy()
        np.testing.assert_allclose(step, expected, atol=1e-12)


def test_updates_turn_away_from_the_predicted_step(samples, trainer):
    trainer.training = LocalTraining(batch_size=30, lr=0.1, epochs=10)

    def cosine(direction):
        attack = DarkFed(images=30, share=0.3, pace=0.2, magnitude=0.0, direction=direction)
        attacker = Attacker(attack, trainer, samples, m=1)
        first = attacker.send()[0]
        attacker.models.append(attacker.models[-1] + first)
        return float(torch.cosine_similarity(attacker.send()[0], first, dim=0))

    usual, turned = cosine(0.0), cosine(5.0)
    assert usual > 0.5
    assert abs(turned) < 0.5 * usual
    trainer.load(build_context(trainer).model)

"""The adaptive trigger is learned, trained against and measured."""

import pytest
import torch
from poisoning import build_context

from clients.attacks.base import TRIGGER
from clients.attacks.data.backdoor import Backdoor
from clients.attacks.training.adaptive_trigger import AdaptiveTrigger
from clients.training.local_training import LocalTraining
from clients.training.trainer import Trainer
from fedpoison.simulation.centralized import train_centralized
from fedpoison.simulation.run import simulate


def test_an_adapted_trigger_raises_success_on_a_fixed_model(digits):
    few = digits.train[torch.arange(400)]
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )
    trainer = Trainer(model, LocalTraining(batch_size=16, lr=0.05))
    trainer.fit(few, torch.Generator().manual_seed(0), training=LocalTraining(epochs=4, lr=0.05))
    attack, memory = AdaptiveTrigger(target=8, size=9), {}
    start = trainer.weights()
    test = digits.test[digits.test.labels != 8]

    def success(shown):
        return float((trainer.predict(shown.images).argmax(dim=1) == 8).float().mean())

    before = success(attack.goal(10).trigger(test))
    for _ in range(3):
        made = attack.poison_data(few, trainer, build_context(trainer, model=start, memory=memory))
        assert torch.equal(trainer.weights(), start)
    trigger = memory[TRIGGER]
    assert trigger.shape == (1, 9, 9)
    assert 0 <= float(trigger.min()) <= float(trigger.max()) <= 1
    corner = made.split_poisoned()[1].pixels()[..., -9:, -9:]
    torch.testing.assert_close(corner, trigger.expand_as(corner))
    after = success(attack.goal(10).learned(test, [trigger]))
    assert after > before + 0.1


def test_the_hardened_model_resists_the_trigger(digits):
    few = digits.train[torch.arange(400)]
    torch.manual_seed(0)
    trainer = Trainer(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)),
        LocalTraining(batch_size=16, lr=0.02),
    )
    poisoned = Backdoor(target=8, size=5).poison_data(few, trainer, build_context(trainer))
    trainer.fit(poisoned, torch.Generator().manual_seed(0), training=LocalTraining(epochs=4, lr=0.02))
    start, trigger = trainer.weights(), torch.ones(1, 5, 5)
    attack = AdaptiveTrigger(target=8, hardening=20)
    hardened = attack._hardened(trigger, few, trainer, build_context(trainer))
    shown = attack.triggered_by(few[few.labels != 8], [trigger])

    def success(weights):
        trainer.load(weights)
        return float((trainer.predict(shown.images).argmax(dim=1) == 8).float().mean())

    assert success(hardened) < success(start) - 0.3


def test_triggers_of_several_attackers_take_turns(samples):
    attack = AdaptiveTrigger(size=2)
    shown = attack.triggered_by(samples, [torch.full((1, 2, 2), value) for value in (0.0, 0.5, 1.0)])
    assert shown.pixels()[:6, 0, -1, -1].tolist() == pytest.approx([0.0, 0.5, 1.0] * 2, abs=1e-6)
    assert torch.equal(shown.labels, samples.labels)


def test_learned_triggers_reach_the_evaluation(small):
    history = simulate(small.replace(attack="adaptive-trigger(size=6)", rounds=2))
    grey = simulate(small.replace(attack="adaptive-trigger(size=6, steps=0)", rounds=2))
    assert history.records[0].triggered == grey.records[0].triggered
    assert history.last.triggered != grey.last.triggered
    assert not history.last.training.dropped


def test_a_learned_trigger_is_measured_in_central_training_too(small):
    history = train_centralized(
        small.replace(model="cnn", attack="adaptive-trigger", rounds=1, train_samples=100)
    )
    assert history.last.attack_success_rate is not None

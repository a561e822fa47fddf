"""Attacks that train for a backdoor that outlasts the rounds after it, and how long it does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import data_attacks as oracle
from poisoning import arrays, linear, trained

from clients.attacks.data.backdoor import Backdoor
from clients.attacks.training.anticipate import Anticipate, anticipated
from clients.attacks.training.chameleon import Chameleon, contrastive_loss
from clients.attacks.training.neurotoxin import Neurotoxin, unmoved_mask
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate


@pytest.mark.parametrize("top", [0.0, 0.05, 0.5, 0.9])
def test_neurotoxin_leaves_the_heaviest_coordinates_alone(mixed, trainer, top):
    start = trainer.weights()
    previous = start + torch.randn(650, generator=torch.Generator().manual_seed(3))
    weights, _ = trained(Neurotoxin(top=top), trainer, mixed, model=start, previous_model=previous)
    masked = oracle.heaviest((start - previous).tolist(), top)
    assert set((unmoved_mask(start - previous, top) == 0).nonzero().flatten().tolist()) == masked
    moved = set((weights != start).nonzero().flatten().tolist())
    assert not moved & masked
    assert len(moved) >= 0.9 * (650 - len(masked))


def test_neurotoxin_has_no_mask_in_the_first_round(mixed, trainer):
    start = trainer.weights()
    plain, _ = trained(Backdoor(), trainer, mixed, model=start)
    assert torch.equal(trained(Neurotoxin(), trainer, mixed, model=start)[0], plain)


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_the_anticipated_loss_is_the_papers_with_its_exact_gradient(mixed, trainer, moves):
    clean, poisoned = mixed.split_poisoned()
    ahead = [clean[torch.arange(10) + 10 * move] for move in range(moves)]
    names = [name for name, _ in trainer.model.named_parameters()]
    weights = dict(zip(names, trainer.parameters, strict=True))
    loss = anticipated(trainer.model, weights, poisoned.images, poisoned.labels, ahead=ahead, rate=0.3)
    start = linear(trainer)

    def value(weight, bias):
        return oracle.anticipated(weight, bias, arrays(poisoned), [arrays(part) for part in ahead], 0.3)

    assert float(loss.detach()) == pytest.approx(value(*start), rel=1e-5)
    gradient = torch.autograd.grad(loss, trainer.parameters)[0]
    for row, column in ((0, 0), (3, 17), (9, 63)):
        nudge = np.zeros_like(start[0])
        nudge[row, column] = 1e-5
        slope = (value(start[0] + nudge, start[1]) - value(start[0] - nudge, start[1])) / 2e-5
        assert float(gradient[row, column]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_anticipating_nothing_is_a_plain_backdoor(mixed, trainer):
    start = trainer.weights()
    plain, _ = trained(Backdoor(), trainer, mixed, model=start)
    torch.testing.assert_close(trained(Anticipate(moves=0), trainer, mixed, model=start)[0], plain)
    assert not torch.equal(trained(Anticipate(every=2), trainer, mixed, model=start)[0], plain)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 1, 2], [0] * 6, [0, 1, 2, 3, 4, 5]])
def test_the_contrastive_loss(labels):
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    loss = contrastive_loss(features, torch.tensor(labels), 0.3)
    assert float(loss) == pytest.approx(oracle.contrastive(features.numpy(), labels, 0.3), abs=1e-9)


def test_chameleon_trains_features_then_the_classifier_alone(mixed, deep):
    head = 12 * 10 + 10
    fits = []
    fit = deep.fit

    def noted(*args, **kwargs):
        before = deep.weights()
        loss = fit(*args, **kwargs)
        fits.append(deep.weights() != before)
        return loss

    deep.fit = noted
    trained(Chameleon(), deep, mixed)
    contrast, classifier = fits
    assert bool(contrast[:-head].any())
    assert not contrast[-head:].any()
    assert bool(classifier[-head:].any())
    assert not classifier[:-head].any()


def test_contrast_draws_poison_to_its_target_and_away_from_what_it_shows(mixed, deep):
    start = deep.weights()
    deep.training = replace(deep.training, epochs=10)
    trained(Chameleon(pace=1.0), deep, mixed, model=start)
    after = deep.weights()

    def affinity(weights):
        deep.load(weights)
        clean, poisoned = mixed.split_poisoned()
        unit = [
            torch.nn.functional.normalize(deep.features(part.images), dim=1) for part in (poisoned, clean)
        ]
        similar = unit[0] @ unit[1].T
        facilitators = clean.labels == 3
        return float((similar[:, facilitators].mean() - similar[:, ~facilitators].mean()).detach())

    assert affinity(after) > affinity(start) + 0.1


STOP = 8


def success_afterwards(attack):
    """Return an attack's mean success in the rounds after it has stopped, by seed."""
    scenario = Scenario(
        dataset="digits",
        train_samples=600,
        test_samples=200,
        clients=10,
        rounds=STOP + 4,
        model="mlp",
        batch_size=16,
        lr=0.05,
        malicious=0.2,
        attack=f"{attack}+scaled-update(factor=3)",
        schedule=f"window(start=5, stop={STOP})",
    )
    histories = [simulate(scenario.replace(seed=seed)) for seed in (0, 1)]
    assert all(history.records[STOP].success > 0.3 for history in histories)
    return np.array([[record.success for record in history.records[STOP + 1 :]] for history in histories])


@pytest.fixture(scope="module")
def plain():
    return success_afterwards("backdoor")


@pytest.mark.parametrize("attack", ["anticipate", "anticipate(every=1)"])
def test_a_backdoor_that_looks_ahead_lasts_longer(plain, attack):
    durable = success_afterwards(attack)
    assert (durable.mean(axis=1) > plain.mean(axis=1)).all()
    assert durable.mean() > plain.mean() + 0.05

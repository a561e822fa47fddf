"""Features and tokens: each attack either works on them, or is refused before the run."""

import numpy as np
import pytest
import torch
from torch import nn

from clients import ATTACKS
from clients.attacks.data.backdoor import Trigger
from clients.training.samples import Samples
from fedpoison import models
from fedpoison.data.own import OwnData
from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

LABELS = np.arange(80) % 8
FEATURES = np.eye(8)[LABELS] + np.random.default_rng(0).normal(scale=0.3, size=(80, 8))
ON_PIXELS = {name for name, kind in ATTACKS.items() if issubclass(kind, Trigger)} | {
    "clean-label", "inject", "pixel-noise", "pixel-perturbation", "semantic-backdoor",
}  # fmt: skip
DRAWS_IMAGES = {"darkfed"}
"""Attacks with a trigger that also train on images of their own."""
SMALL = {"clients": 6, "rounds": 2, "model": "mlp-small", "malicious": 0.34, "lr": 0.5}


@pytest.fixture
def no_pixels(monkeypatch):
    def refuse(_):
        raise AssertionError("pixels of features")

    monkeypatch.setattr(Samples, "pixels", refuse)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_works_on_features_or_is_refused_before_the_run(name, no_pixels):
    scenario = Scenario(dataset=(FEATURES, LABELS), attack=name, **SMALL)
    if ATTACKS[name].card.on_tokens:
        with pytest.raises(ScenarioError, match=f"attack {name}: changes tokens, .* type float32"):
            Federation.load(scenario)
        return
    if name in ON_PIXELS:
        with pytest.raises(ScenarioError, match=f"attack {name}: changes or measures pixels.*label-flip"):
            Federation.load(scenario)
        if not issubclass(ATTACKS[name], Trigger) or name in DRAWS_IMAGES:
            return
        scenario = scenario.replace(attack=f"{name}(share=0)")  # its training still works on features
    history = simulate(scenario)
    assert history.last.round == 2
    assert 0 <= history.last.accuracy <= 1


def test_the_goal_needs_pixels_as_well():
    with pytest.raises(ScenarioError, match="attack backdoor: changes or measures pixels"):
        Federation.load(Scenario(dataset=(FEATURES, LABELS), goal="backdoor", **SMALL))


def test_attacks_harm_features():
    clean = simulate(Scenario(dataset=(FEATURES, LABELS), **SMALL | {"rounds": 6}))
    attacked = simulate(Scenario(dataset=(FEATURES, LABELS), attack="sign-flip", **SMALL | {"rounds": 6}))
    assert clean.last.accuracy > 0.7
    assert clean.last.accuracy > attacked.last.accuracy + 0.1


def tokens_model(shape, classes):
    (length,) = shape
    return nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(4 * length, classes))


def test_deepsight_is_refused_for_tokens_before_the_run(tmp_path):
    np.savez(tmp_path / "words.npz", x=np.stack([LABELS, LABELS + 8], axis=1), y=LABELS)
    dataset = f"npz(path={tmp_path / 'words.npz'}, kind=tokens)"
    words = (
        r"strategy deepsight: .* on random noise, and the samples of the data set are tokens \(torch.int64\)"
    )
    with pytest.raises(ScenarioError, match=words):
        Federation.load(Scenario(dataset=dataset, strategy="deepsight", **SMALL | {"model": "lstm"}))


def test_deepsight_is_refused_for_a_model_without_a_weight_matrix():
    scenario = Scenario(dataset=(FEATURES, LABELS), strategy="deepsight", **SMALL | {"model": Scales()})
    with pytest.raises(ScenarioError, match="strategy deepsight: .* the model has no weight matrix"):
        Federation.load(scenario)


class Scales(nn.Module):
    """Multiplies each feature by a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, samples):
        return samples * self.weight


def test_tokens_train_and_are_attacked(tmp_path, monkeypatch):
    monkeypatch.setitem(models.MODELS, "tokens", tokens_model)
    tokens = np.stack([LABELS, LABELS + 8, LABELS + 1], axis=1)
    np.savez(tmp_path / "words.npz", x=tokens, y=LABELS)
    dataset = f"npz(path={tmp_path / 'words.npz'}, kind=tokens)"
    settings = SMALL | {"model": "tokens", "rounds": 8, "batch_size": 4}
    clean = simulate(Scenario(dataset=dataset, **settings))
    flipped = simulate(Scenario(dataset=dataset, attack="label-flip", **settings))
    assert clean.last.accuracy > 0.9
    assert flipped.last.loss > 1.5 * clean.last.loss
    assert isinstance(Federation.load(clean.scenario).dataset.source, OwnData)
    assert Federation.load(clean.scenario).dataset.train.images.dtype == torch.int64


def test_a_backdoor_of_words_succeeds_on_tokens():
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, 20, (240, 8), generator=draw)
    labels = tokens[:, 3] % 4
    dataset = Samples(tokens[:160], labels[:160], 4), Samples(tokens[160:], labels[160:], 4)
    model = nn.Sequential(nn.Embedding(20, 8), nn.Flatten(), nn.Linear(64, 4))
    attack = "token-backdoor(tokens=0 1 0, place=end, mode=replace)"
    scenario = Scenario(
        dataset=dataset, model=model, clients=4, rounds=20, batch_size=8, lr=0.5, malicious_nodes=(1, 2)
    )
    attacked = simulate(scenario.replace(attack=attack)).last
    clean = simulate(scenario.replace(goal=attack, attack="none")).last
    assert attacked.success > 0.9
    assert clean.success < 0.5
    assert attacked.accuracy > 0.5

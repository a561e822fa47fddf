"""The validation set: samples that nobody trains on, with results of their own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from clients.training.parameters import load, trainable
from fedpoison.errors import ScenarioError
from fedpoison.federation.datasets import resolve_dataset
from fedpoison.federation.federation import Federation
from fedpoison.results.round import Round
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.centralized import train_centralized
from fedpoison.simulation.replay import replay
from fedpoison.simulation.run import simulate, simulate_clean


@pytest.fixture
def validated(small):
    return small.replace(rounds=2, validation_samples=150, attack="backdoor", participation=0.8)


@pytest.fixture
def numbered(digits):
    """The digits, in which all pixels of a training sample are its position."""
    positions = torch.arange(len(digits.train), dtype=torch.float32)
    images = positions.view(-1, 1, 1, 1).expand(-1, 1, 28, 28).contiguous()
    return replace(digits, train=replace(digits.train, images=images))


def positions(samples):
    return samples.images[:, 0, 0, 0].int().tolist()


@pytest.mark.parametrize("train_samples", [0, 300, 1292])
def test_neither_a_client_nor_the_server_has_a_validation_sample(small, numbered, train_samples):
    scenario = small.replace(train_samples=train_samples, validation_samples=150, root_samples=1000)
    federation = Federation(scenario, numbered)
    reserved, train = set(positions(federation.validation)), positions(federation.train)
    assert len(reserved) == 150
    assert len(train) == len(set(train)) == (train_samples or 1292)
    assert reserved.isdisjoint(train)
    assert reserved.isdisjoint(positions(federation.root))
    jobs = [federation.job(client_id, 1, federation.initial, None, {}) for client_id in range(10)]
    assert set().union(*(positions(job.own()) for job in jobs)) == set(train)


def test_the_validation_set_depends_on_its_size_and_the_seed_alone(small, numbered):
    base = small.replace(validation_samples=100)
    drawn = positions(Federation(base, numbered).validation)
    others = base.replace(train_samples=0, attack="alie", clients=5, partition="sorted", test_samples=50)
    assert positions(Federation(others, numbered).validation) == drawn
    assert positions(Federation(base.replace(seed=1), numbered).validation) != drawn


def test_a_scenario_without_validation_keeps_its_content_and_its_records(small, digits):
    assert "validation_samples" not in small.content()
    assert small.replace(validation_samples=1).run_id != small.run_id
    assert Federation(small, digits).validation is None
    record = simulate(small, rounds=1).last
    assert "validation" not in json.loads(record.to_json())
    assert Round.from_json(record.to_json()) == record
    with pytest.raises(ScenarioError, match="the run has no validation set; set validation_samples"):
        record.split("validation")


def confusion_of(federation, weights, samples):
    """Return the confusion matrix of a stored model, sample by sample."""
    model = federation.model()
    load(torch.cat([each.reshape(-1) for each in weights]), list(trainable(model).values()))
    counts = np.zeros((10, 10), dtype=int)
    with torch.no_grad():
        for image, label in zip(samples.images, samples.labels, strict=True):
            counts[label, model(image[None]).argmax()] += 1
    return counts


def test_the_results_are_those_of_the_model_on_the_validation_set(validated, tmp_path):
    history = simulate(validated, out=tmp_path)
    federation = Federation.load(validated)
    stored = StoredRun(history.path).weights()
    weights = [stored[name] for name, _ in federation.layout]
    assert sum(map(sum, history.last.confusion)) == 200
    found = history.last.validation
    assert found.confusion == confusion_of(federation, weights, federation.validation).tolist()
    triggered = confusion_of(federation, weights, federation.goal.trigger(federation.validation))
    others = np.delete(triggered, federation.goal.target, axis=0)
    assert found.triggered == triggered.tolist()
    assert found.attack_success_rate == others[:, federation.goal.target].sum() / others.sum()


def test_frames_summary_and_store_have_the_results(validated, tmp_path):
    history = simulate(validated, out=tmp_path)
    assert StoredRun(history.path).history.records == history.records
    frame, last = history.to_frame(), history.last.validation
    assert frame["validation_accuracy"].tolist() == [each.validation.accuracy for each in history.records]
    assert frame["validation_attack_success_rate"].iloc[-1] == last.attack_success_rate
    assert history.per_class("validation").iloc[-1].tolist() == last.per_class_accuracy
    assert history.summary()["validation"] == {
        "samples": 150,
        "accuracy": last.accuracy,
        "per_class_accuracy": last.per_class_accuracy,
        "worst_class_accuracy": last.worst_class_accuracy,
        "attack_success_rate": last.attack_success_rate,
        "source_to_target_rate": None,
        "loss": last.loss,
    }


def test_only_evaluated_rounds_have_results(validated):
    history = simulate(validated, rounds=3, evaluate_every=2)
    assert [record.round for record in history.records if record.validation is not None] == [0, 2, 3]


def test_the_clean_run_trains_on_the_same_samples(validated):
    clean = simulate_clean(validated)
    assert clean.scenario.validation_samples == 150
    assert clean.last.validation.attack_success_rate is not None
    other = simulate(clean.scenario.replace(validation_samples=0))
    with pytest.raises(ScenarioError, match="got validation_samples 0, expected 150"):
        simulate(validated).damage(other)


def test_replay_evaluates_on_the_validation_set(validated, tmp_path):
    history = simulate(validated, out=tmp_path, keep_updates=[2])
    found = replay(history.path, 2, [validated.strategy], influence=False)
    assert found.results[0].record.validation == history.last.validation


def test_centralized_training_reserves_it_too(small):
    record = train_centralized(small.replace(rounds=1, validation_samples=150)).last
    assert sum(map(sum, record.validation.confusion)) == 150
    assert record.training.seconds.keys() == {"train", "evaluate"}


def test_own_arrays_are_split(small):
    source = torch.Generator().manual_seed(0)
    x, y = torch.rand(120, 6, generator=source).numpy(), (torch.arange(120) % 3).numpy()
    base = small.replace(train_samples=0, test_samples=0, clients=4, rounds=1, validation_samples=20)
    history = simulate(base, dataset=(x, y), model="logistic")
    assert sum(map(sum, history.last.validation.confusion)) == 20
    assert len(history.last.confusion) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"validation_samples": 1442}, "validation_samples: got 1442, expected at most 1441 for digits"),
        (
            {"validation_samples": 1200},
            "train_samples: got 400, expected at most 242 for digits without the 1200 samples for validation",
        ),
    ],
)
def test_too_few_samples_are_an_error(small, digits, changes, words):
    with pytest.raises(ScenarioError, match=words):
        Federation(small.replace(**changes), digits)


def test_auto_uses_the_samples_that_remain(digits):
    used = resolve_dataset(Scenario(train_samples=1400, validation_samples=100), digits)
    assert (used.dataset, used.train_samples, used.validation_samples) == ("digits", 0, 100)
    assert resolve_dataset(Scenario(train_samples=1342, validation_samples=100), digits).train_samples == 1342


def test_the_command_prints_the_results(fedpoison, validated, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text(validated.to_toml())
    code, out, _ = fedpoison("run", file, "--out", tmp_path)
    assert code == 0
    last = StoredRun(tmp_path / validated.run_id).history.last.validation
    assert f"on 150 validation samples: accuracy {100 * last.accuracy:.1f} %" in out
    code, out, _ = fedpoison("run", file, "--out", tmp_path, "--json")
    assert json.loads(out)["validation"]["accuracy"] == last.accuracy

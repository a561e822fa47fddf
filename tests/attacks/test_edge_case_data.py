"""Edge cases of another data set: the images, their shape, the measure of success, and the id of the run."""

import numpy as np
import pytest
import torch
from poisoning import poisoned_by

from clients.attacks.data.edge_case import EdgeCase
from clients.attacks.named_data import fit_pixels
from fedpoison.errors import DataError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.scenario.attack_data import locate_attack_data, read_samples
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

TINY = Scenario(
    dataset="digits", train_samples=60, test_samples=20, clients=3, rounds=1, model="mlp-small",
    malicious_nodes=(1,),
)  # fmt: skip


def archive(path, *, shape=(8, 8), classes=9, each=10, seed=0):
    """Write bytes with `each` training and half as many test images of every class, and return them."""
    random, arrays = np.random.default_rng(seed), {}
    for part, count in (("train", each), ("test", each // 2)):
        arrays[f"x_{part}"] = random.integers(0, 256, (count * classes, *shape)).astype(np.uint8)
        arrays[f"y_{part}"] = np.arange(count * classes) % classes
    np.savez(path, **arrays)
    return arrays


def test_the_first_images_of_the_class_are_added_as_target_and_all_test_images_measure(
    samples, trainer, tmp_path
):
    arrays = archive(tmp_path / "other.npz")
    attack = EdgeCase(dataset=f"npz(path={tmp_path / 'other.npz'})", source=7, target=1, share=0.3, copies=2)
    poisoned = poisoned_by(attack, samples, trainer)
    expected = []
    for image, label in zip(arrays["x_train"], arrays["y_train"], strict=True):
        if label == 7 and len(expected) < 3:
            expected.append([[(value / 255 - 0.5) / 0.25 for value in row] for row in image])
    assert len(poisoned) == len(samples) + 6
    assert poisoned.poison_mask().tolist() == [False] * 60 + [True] * 6
    assert torch.equal(poisoned.images[:60], samples.images)
    assert poisoned.labels[60:].tolist() == [1] * 6
    np.testing.assert_allclose(poisoned.images[60:, 0].numpy(), np.array(expected + expected), atol=1e-5)
    measured = attack.goal(10).trigger(samples)
    test_images = arrays["x_test"][arrays["y_test"] == 7]
    np.testing.assert_allclose(measured.pixels()[:, 0].numpy(), test_images / 255, atol=1e-5)
    assert measured.labels.tolist() == [7] * 5


@pytest.mark.parametrize(("source", "target", "label"), [(7, 1, 7), (1, 1, 2), (8, 7, 8), (11, 9, 0)])
def test_the_measured_images_never_have_the_label_of_the_target(samples, tmp_path, source, target, label):
    archive(tmp_path / "other.npz", classes=12)
    attack = EdgeCase(dataset=f"npz(path={tmp_path / 'other.npz'})", source=source, target=target)
    assert attack.goal(10).trigger(samples).labels.unique().tolist() == [label]


def test_images_get_the_shape_of_the_clients():
    colours = torch.tensor([0.1, 0.2, 0.6]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    grey = fit_pixels(colours, torch.Size([1, 7, 5]))
    torch.testing.assert_close(grey, torch.full((2, 1, 7, 5), 0.3))
    torch.testing.assert_close(fit_pixels(grey, torch.Size([3, 4, 4])), torch.full((2, 3, 4, 4), 0.3))
    half = torch.cat([torch.zeros(1, 1, 8, 4), torch.ones(1, 1, 8, 4)], dim=3)
    small = fit_pixels(half, torch.Size([1, 2, 2]))[0, 0]
    assert bool((small[:, 0] < 0.3).all())
    assert bool((small[:, 1] > 0.7).all())


@pytest.mark.parametrize(
    ("dataset", "error", "words"),
    [
        ("npz(path=FOLDER/nothing.npz)", DataError, "does not exist"),
        ("npz(path=FOLDER/two.npz)", ScenarioError, "edge-case.*: dataset: got images with 2 channels"),
        ("npz(path=FOLDER/flat.npz)", ScenarioError, "edge-case.*: dataset: .* the shape .5,., expected"),
        ("npz(path=FOLDER/few.npz)", ScenarioError, "edge-case.*: source: got class 7, .* has no image"),
        ("auto", ScenarioError, "dataset: got auto, expected a certain data set"),
        ("fashon-mnist", ScenarioError, "did you mean 'fashion-mnist'"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used_is_refused_before_the_run(tmp_path, dataset, error, words):
    archive(tmp_path / "two.npz", shape=(2, 8, 8))
    archive(tmp_path / "few.npz", classes=5)
    np.savez(tmp_path / "flat.npz", x=np.random.default_rng(0).normal(size=(80, 5)), y=np.arange(80) % 8)
    colour = (np.random.default_rng(1).random((40, 3, 8, 8), dtype=np.float32), np.arange(40) % 10)
    attack = EdgeCase(dataset=dataset.replace("FOLDER", str(tmp_path)))
    with pytest.raises(error, match=words):
        simulate(TINY, attack=attack, dataset=colour, train_samples=0, test_samples=0)


def test_the_run_depends_on_the_content_and_not_on_the_place(tmp_path):
    for folder, seed in (("here", 0), ("there, or not", 0), ("changed", 1)):
        (tmp_path / folder).mkdir()
        archive(tmp_path / folder / "other.npz", seed=seed)
    here, there, changed = (
        Federation.load(
            TINY.replace(attack=EdgeCase(dataset=f'npz(path="{tmp_path / folder}/other.npz")'))
        ).scenario
        for folder in ("here", "there, or not", "changed")
    )
    assert here.attack != there.attack
    assert here.run_id == there.run_id != changed.run_id
    assert "content=" in here.attack
    for scenario in (here, there):
        assert Scenario.parse(scenario.content()) == scenario
        assert Scenario.parse(scenario.content()).run_id == scenario.run_id
    archive(tmp_path / "here" / "other.npz", seed=2)
    with pytest.raises(DataError, match="the content has the digest"):
        read_samples(read_attack(here.attack).value.dataset)


def test_the_parts_of_compositions_and_groups_get_the_digest(tmp_path):
    archive(tmp_path / "other.npz")
    spec = f"edge-case(dataset=npz(path={tmp_path / 'other.npz'})) + scaled-update"
    located = locate_attack_data(spec)
    assert located.endswith("+scaled-update")
    assert locate_attack_data(located) == located
    loaded = Federation.load(TINY.replace(malicious_nodes=(), groups=[f"{spec}: nodes=(1)"])).scenario
    assert loaded.groups[0].attack == located
    assert locate_attack_data("edge-case(dataset=digits)") == "edge-case(dataset=digits)"


def test_another_data_set_is_learned_as_the_target(tmp_path):
    """Stripes are no digits. FedAvg learns to call them 1."""
    stripes = np.zeros((40, 28, 28), dtype=np.uint8)
    stripes[:20, ::2], stripes[20:, :, ::4] = 255, 255
    np.savez(tmp_path / "stripes.npz", x=stripes, y=np.arange(40) // 20)
    attack = EdgeCase(dataset=f"npz(path={tmp_path / 'stripes.npz'})", source=0, target=1, share=1.0)
    scenario = TINY.replace(train_samples=300, rounds=4, batch_size=10, attack=attack)
    history = simulate(scenario)
    clean = simulate(scenario.replace(attack="none", goal=attack))
    assert history.last.success > 0.9
    assert clean.last.success < 0.5

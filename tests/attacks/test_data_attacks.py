"""Attacks on the data make of the samples what their papers say, and reach their aim."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import data_attacks as oracle
from poisoning import linear, poisoned_by

from clients.attacks.composite import Composite
from clients.attacks.data.backdoor import Backdoor, Blended
from clients.attacks.data.clean_label import CleanLabel
from clients.attacks.data.distributed_backdoor import DistributedBackdoor
from clients.attacks.data.edge_case import EdgeCase, tail_mask
from clients.attacks.data.inject import Inject
from clients.attacks.data.label_flip import LabelFlip
from clients.attacks.data.pixels import PixelPerturbation
from clients.attacks.data.semantic_backdoor import SemanticBackdoor, stroke_slant
from clients.training.local_training import LocalTraining
from clients.training.trainer import Trainer
from fedpoison.simulation.run import simulate


def test_what_is_poisoned_is_marked_and_the_rest_is_left_bit_for_bit(samples, trainer):
    for attack in (
        Backdoor(share=0.3),
        Blended(share=0.3),
        LabelFlip(share=0.3),
        PixelPerturbation(share=0.3),
        EdgeCase(share=0.5, copies=1),
        SemanticBackdoor(),
    ):
        poisoned = poisoned_by(attack, samples, trainer)
        clean, made = poisoned.split_poisoned()
        assert 0 < len(made) < len(samples), attack
        assert torch.equal(clean.images, samples.images[~poisoned.poisoned]), attack
        assert torch.equal(clean.labels, samples.labels[~poisoned.poisoned]), attack
        assert samples.poisoned is None


def test_marks_add_up_in_a_composition(samples, trainer):
    both = Composite((Inject(share=0.5), Backdoor(share=0.2)))
    poisoned = poisoned_by(both, samples, trainer)
    assert len(poisoned) == 90
    assert 30 <= int(poisoned.poisoned.sum()) <= 48
    assert bool(poisoned.poisoned[60:].all())


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (LabelFlip, {"mode": "targeted", "source": 2, "target": 2}),
        (Blended, {"alpha": 1.5}),
        (Blended, {"cell": 0}),
        (Blended, {"share": -0.1}),
        (DistributedBackdoor, {"length": 0}),
        (DistributedBackdoor, {"share": 2}),
        (PixelPerturbation, {"epsilon": -1}),
        (PixelPerturbation, {"share": 1.1}),
        (EdgeCase, {"source": 1, "target": 1}),
        (EdgeCase, {"copies": 0}),
        (SemanticBackdoor, {"share": 1.1}),
        (CleanLabel, {"source": 3, "target": 3}),
        (CleanLabel, {"step": 0}),
        (CleanLabel, {"opacity": 2}),
    ],
    ids=repr,
)
def test_impossible_knobs_are_refused(kind, parameters):
    with pytest.raises(ValueError, match="got .*expected"):
        kind(**parameters)


@pytest.mark.parametrize(
    "attack",
    [
        LabelFlip(mode="all-to-one", target=10),
        Blended(target=10),
        DistributedBackdoor(target=12),
        EdgeCase(target=10),
        EdgeCase(source=11),
        SemanticBackdoor(target=10),
        CleanLabel(source=10),
        CleanLabel(target=10),
    ],
    ids=repr,
)
def test_a_class_that_does_not_exist_is_refused(attack):
    with pytest.raises(ValueError, match="expected 0 to 9"):
        attack.goal(10)


@pytest.mark.parametrize(
    "attack",
    [
        Blended(share=0),
        Blended(alpha=0),
        DistributedBackdoor(share=0),
        EdgeCase(share=0),
        SemanticBackdoor(share=0),
        PixelPerturbation(steps=0),
        CleanLabel(share=0),
        CleanLabel(steps=0, opacity=0),
    ],
    ids=repr,
)
def test_an_attack_that_does_nothing_says_so(attack, large, fitted):
    assert attack.no_effect(10, 3)
    made = poisoned_by(attack, large, fitted)
    torch.testing.assert_close(made.images, large.images, atol=1e-5, rtol=0)
    if not isinstance(attack, Blended):
        assert torch.equal(made.labels, large.labels)


@pytest.mark.parametrize(
    ("attack", "least"),
    [
        ("blended(alpha=0.4)", 0.7),
        ("distributed-backdoor(value=1.0, length=6)", 0.5),
        ("label-flip(mode=all-to-one, target=3)", 0.5),
    ],
)
def test_what_the_attacker_wants_happens(small, attack, least):
    scenario = small.replace(train_samples=0, clients=5, malicious=0.4, rounds=8, attack=attack)
    history = simulate(scenario)
    assert max(record.success for record in history.records[-3:]) > least
    assert history.records[0].success < 0.3


def test_all_to_one(samples, trainer):
    attack = LabelFlip(mode="all-to-one", target=4)
    assert set(poisoned_by(attack, samples, trainer).labels.tolist()) == {4}
    goal = attack.goal(10)
    assert (goal.target, goal.source) == (4, None)
    assert goal.trigger(samples) is samples


@pytest.mark.parametrize("pattern", ["noise", "checkerboard"])
@pytest.mark.parametrize("alpha", [0.2, 0.7])
def test_blending(samples, pattern, alpha):
    attack = Blended(alpha=alpha, pattern=pattern, cell=2)
    if pattern == "noise":
        trigger = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
    else:
        trigger = np.array([[[(r // 2 + c // 2 + 1) % 2 for c in range(8)] for r in range(8)]])
    expected = oracle.blend(samples.pixels().numpy(), trigger, alpha)
    np.testing.assert_allclose(attack.stamp(samples.pixels()).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(attack.triggered(samples).pixels(), expected, rtol=1e-5, atol=1e-5)


def test_the_parts_of_a_distributed_trigger_add_up_to_the_global_one():
    attack, black = DistributedBackdoor(), torch.zeros(1, 1, 28, 28)
    parts = [attack.stamp_part(black, part)[0, 0].numpy() for part in range(4)]
    for part, expected in zip(parts, oracle.bars(28, 28), strict=True):
        np.testing.assert_array_equal(part, expected)
    np.testing.assert_array_equal(attack.stamp(black)[0, 0].numpy(), sum(parts))
    assert sum(parts).max() == 1


def test_each_attacker_trains_on_its_own_part(digits, trainer):
    few = digits.train[torch.arange(32)]
    attack = DistributedBackdoor(share=1.0, target=3)
    for rank in range(5):
        made = poisoned_by(attack, few, trainer, rank=rank, size=5)
        expected = few.with_pixels(attack.stamp_part(few.pixels(), rank % 4))
        torch.testing.assert_close(made.images, expected.images)
        assert set(made.labels.tolist()) == {3}


def test_a_trigger_that_does_not_fit_is_refused(samples, trainer):
    with pytest.raises(ValueError, match="fits on images of 8x8"):
        poisoned_by(DistributedBackdoor(), samples, trainer, rank=1)
    assert len(poisoned_by(DistributedBackdoor(length=3), samples, trainer, rank=1)) == 60


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_perturbation_is_projected_gradient_ascent(samples, trainer, steps):
    weight, bias = linear(trainer)
    made = poisoned_by(PixelPerturbation(epsilon=0.1, steps=steps, share=1.0), samples, trainer)
    expected = oracle.ascend(
        weight,
        bias,
        samples.pixels().flatten(1).double().numpy(),
        samples.labels.numpy(),
        mean=samples.mean[0],
        std=samples.std[0],
        epsilon=0.1,
        steps=steps,
    )
    np.testing.assert_allclose(made.pixels().flatten(1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("epsilon", "factor"), [(0.01, 1.2), (0.3, 20)])
def test_perturbation_stays_in_the_ball_and_raises_the_loss(large, fitted, epsilon, factor):
    made = poisoned_by(PixelPerturbation(epsilon=epsilon, share=1.0), large, fitted)
    pixels = made.pixels()
    assert float((pixels - large.pixels()).abs().max()) <= epsilon + 1e-5
    assert -1e-5 <= float(pixels.min()) <= float(pixels.max()) <= 1 + 1e-5
    assert torch.equal(made.labels, large.labels)
    before, after = (float(fitted.loss(part.images, part.labels).detach()) for part in (large, made))
    assert after > factor * before


def test_the_tail_is_what_lies_farthest_from_the_mean(samples):
    for share in (0.0, 0.34, 1.0):
        found = set(tail_mask(samples, 7, share).nonzero().flatten().tolist())
        assert found == oracle.tail(samples.images.numpy(), samples.labels.tolist(), 7, share)
    assert not tail_mask(samples[samples.labels != 7], 7, 0.5).any()


def test_the_edge_is_relabelled_repeated_and_what_success_is_measured_on(samples, trainer):
    attack = EdgeCase(source=7, target=1, share=0.5, copies=4)
    made = poisoned_by(attack, samples, trainer)
    edge = tail_mask(samples, 7, 0.5)
    assert int(edge.sum()) == 3
    assert len(made) == 60 + 3 * 3
    assert set(made.split_poisoned()[1].labels.tolist()) == {1}
    assert torch.equal(made.labels[:60][~edge], samples.labels[~edge])
    for row in made.images[60:]:
        assert (row == samples.images[edge]).flatten(1).all(1).any()
    shown = attack.goal(10).trigger(samples)
    assert set(shown.labels.tolist()) == {7}
    assert torch.equal(shown.images, samples.images[edge])


def test_slant(samples):
    pixels = samples.pixels()[:, 0]
    expected = [oracle.slant(image) for image in pixels.double().numpy()]
    np.testing.assert_allclose(stroke_slant(pixels), expected, rtol=1e-3, atol=1e-5)
    assert bool((stroke_slant(torch.zeros(2, 5, 5)) == 0).all())
    assert bool(stroke_slant(torch.ones(1, 1, 5)).isfinite().all())


@pytest.mark.parametrize("property_", ["thick", "thin", "slanted-right", "slanted-left"])
def test_a_property_selects_the_images_that_show_it_most(large, trainer, property_):
    attack = SemanticBackdoor(property=property_, share=0.1, target=6)
    made = poisoned_by(attack, large, trainer)
    pixels = large.pixels()[:, 0]
    measure = stroke_slant(pixels) if "slanted" in property_ else pixels.mean(dim=(1, 2))
    if property_ in ("thin", "slanted-left"):
        measure = -measure
    showing = made.poisoned
    assert int(showing.sum()) == 30
    assert float(measure[showing].min()) >= float(measure[~showing].max())
    assert set(made.labels[showing].tolist()) == {6}
    torch.testing.assert_close(made.images, large.images, rtol=0, atol=0)
    assert torch.equal(attack.goal(10).trigger(large).images, large.images[showing])


def test_a_collision_step_is_forward_backward_splitting(samples):
    torch.manual_seed(0)
    first, head = torch.nn.Linear(64, 12, bias=False), torch.nn.Linear(12, 10)
    trainer = Trainer(torch.nn.Sequential(torch.nn.Flatten(), first, head), LocalTraining())
    plain = replace(samples, images=samples.pixels(), mean=(0.0,), std=(1.0,))
    attack = CleanLabel(source=1, target=7, steps=1, step=0.3, beta=0.2, opacity=0.3)
    made = poisoned_by(attack, plain, trainer)
    memory = {}
    again = poisoned_by(CleanLabel(source=1, target=7, steps=0, opacity=0.3), plain, trainer, memory=memory)
    base = again.split_poisoned()[1].pixels().flatten(1).double().numpy()
    matrix = first.weight.detach().double().numpy()
    sources = plain.pixels()[plain.labels == 1].flatten(1).double().numpy()
    clean = plain.pixels()[plain.labels == 7].flatten(1).double().numpy()
    # Which source each image was paired with is read off the watermark.
    pairs = [
        min(sources, key=lambda s, b=b, c=c: abs(0.7 * c + 0.3 * s - b).sum())
        for b, c in zip(base, clean, strict=True)
    ]
    wanted = np.stack([matrix @ source for source in pairs])
    expected = oracle.collide(matrix, base, base, wanted, step=0.3, beta=0.2)
    np.testing.assert_allclose(made.split_poisoned()[1].pixels().flatten(1), expected, atol=1e-5)


def test_collision_moves_features_closer_from_round_to_round_and_keeps_the_labels(large, fitted):
    memory, gaps = {}, []
    sources = fitted.features(large.images[large.labels == 1]).detach()
    for attack in (CleanLabel(steps=0, opacity=0.0), *[CleanLabel(opacity=0.0)] * 3):
        made = poisoned_by(attack, large, fitted, memory=memory)
        assert torch.equal(made.labels, large.labels)
        features = fitted.features(made.split_poisoned()[1].images).detach()
        gaps.append(float(torch.cdist(features, sources).mean()))
    assert gaps[1] < 0.8 * gaps[0]
    assert gaps[3] < gaps[1]
    moved = (memory["collision"] - large[large.labels == 7].pixels()).abs().mean()
    assert 0 < float(moved) < 0.2


def test_without_images_of_a_class_there_is_no_collision(samples, trainer):
    lone = samples[samples.labels == 7]
    assert poisoned_by(CleanLabel(), lone, trainer) is lone


def test_a_model_without_a_linear_end_has_no_features(samples):
    trainer = Trainer(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.ReLU()), LocalTraining()
    )
    with pytest.raises(ValueError, match="expected a model whose output is that of an nn.Linear"):
        poisoned_by(CleanLabel(), samples, trainer)

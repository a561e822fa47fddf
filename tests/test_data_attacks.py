"""Attacks on the data have in common marks, knobs within their ranges, and an aim that is reached."""

import pytest
import torch
from poisoning import poisoned_by

from clients.backdoor import Backdoor, Blended
from clients.clean_label import CleanLabel
from clients.composite import Composite
from clients.distributed_backdoor import DistributedBackdoor
from clients.edge_case import EdgeCase
from clients.inject import Inject
from clients.label_flip import LabelFlip
from clients.pixels import PixelPerturbation
from clients.semantic_backdoor import SemanticBackdoor
from fedpoison.simulation import simulate


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
        clean, made = poisoned.parted()
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
    ("kind", "knobs"),
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
def test_impossible_knobs_are_refused(kind, knobs):
    with pytest.raises(ValueError, match="got .*expected|choose two classes"):
        kind(**knobs)


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
    assert attack.idle(10, 3)
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
    scenario = small.but(train_samples=0, clients=5, malicious=0.4, rounds=8, attack=attack)
    history = simulate(scenario)
    assert max(record.success for record in history.records[-3:]) > least
    assert history.records[0].success < 0.3

"""Checks before a run that the attacks of a scenario can work on its samples."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from clients.attacks.base import Attack
from clients.attacks.composite import parts_of
from clients.attacks.data.backdoor import Trigger
from clients.training.samples import Samples
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario

LARGEST_TRIGGER = 0.5
"""Largest share of the pixels that a trigger may hide."""


def check_pixels(scenario: Scenario, samples: Samples, name: str) -> None:
    """Check that attacks on pixels get images, and that triggers fit on them.

    Args:
        scenario: Attacks and goal.
        samples: Samples of the data set.
        name: Name of the data set.

    Raises:
        ScenarioError: an attack cannot work on these samples.
    """
    shape = tuple(samples.images.shape[1:])
    for spec, part in _parts(scenario):
        with code_errors(f"attack {spec}"):
            needs_pixels = part.needs_pixels()
        if needs_pixels and not samples.has_pixels:
            raise ScenarioError(
                f"attack {spec}: changes or measures pixels, and the samples of {name} have the shape "
                f"{shape}; choose an attack on labels or updates, such as label-flip."
            )
        if isinstance(part, Trigger) and samples.has_pixels:
            _check_trigger(spec, part, shape)


def _parts(scenario: Scenario) -> Iterator[tuple[str, Attack]]:
    """Yield each part of each attack, and of the goal, with the spec that it belongs to."""
    attacks = [(group.attack, group.built_attack) for group in scenario.attackers]
    if scenario.goal is not None:
        attacks.append((scenario.goal, read_attack(scenario.goal).value))
    yield from ((spec, part) for spec, attack in attacks for part in parts_of(attack))


def _check_trigger(name: str, attack: Trigger, shape: tuple[int, ...]) -> None:
    """Raise ScenarioError if the trigger does not fit on the images, or hides most of each image."""
    try:
        hidden = attack.stamp(torch.zeros((1, *shape))) == attack.stamp(torch.ones((1, *shape)))
    except ValueError as error:
        raise ScenarioError(f"attack {name}: {error}") from None
    share = float(hidden.double().mean())
    if share > LARGEST_TRIGGER:
        raise ScenarioError(
            f"attack {name}: the trigger hides {share:.0%} of an image of {shape[1]}x{shape[2]}, "
            f"expected at most {LARGEST_TRIGGER:.0%}, since a model cannot predict the class of "
            "a hidden image; choose a smaller trigger."
        )

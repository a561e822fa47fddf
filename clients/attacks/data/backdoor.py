"""Backdoors with a trigger: the model learns to predict the target for images with it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import (
    SHARES,
    Attack,
    AttackCard,
    AttackGoal,
    AttackSetting,
    ClientContext,
    Range,
    SearchSpace,
    check_class,
)
from clients.bounds import PositiveCount, Share
from clients.training import Samples, Trainer
from clients.training.samples import random_mask

LARGEST_TRIGGER = 0.5
"""Largest share of the pixels that a trigger may hide."""
CHECKED = 100
"""Number of images on which a trigger must be visible, on at least one."""


@dataclass(frozen=True, kw_only=True)
class Trigger(Attack, ABC):
    """Base class of backdoors: stamp a trigger on a share of the local images and label them as `target`.

    If `share` is 0, the attack changes no data and measures no success. In a composition another part
    then does both.
    """

    target: int = 0
    share: Share = 0.5
    """Share of the local samples that carry the trigger."""

    @abstractmethod
    def stamp(self, pixels: Tensor) -> Tensor:
        """Return a copy of `pixels` (m, c, h, w) in [0, 1] with the trigger of the success measurement."""

    def stamp_locally(self, pixels: Tensor, context: ClientContext) -> Tensor:
        """Return a copy of `pixels` (m, c, h, w) with the trigger that this client trains on."""
        return self.stamp(pixels)

    def check(self, setting: AttackSetting) -> None:
        if not self.share:
            return
        setting.require_images()
        shape = setting.samples.images.shape[1:]
        hidden = self.stamp(torch.zeros((1, *shape))) == self.stamp(torch.ones((1, *shape)))
        covered = float(hidden.double().mean())
        if covered > LARGEST_TRIGGER:
            raise ValueError(
                f"the trigger hides {covered:.0%} of an image of {shape[1]}x{shape[2]}, expected at most "
                f"{LARGEST_TRIGGER:.0%}, since a model cannot predict the class of a hidden image; choose a "
                "smaller trigger."
            )
        if self.no_effect(setting.clients, setting.malicious) is not None:
            return
        some = setting.samples[torch.arange(min(len(setting.samples), CHECKED))]
        if self.triggered(some).same_as(some):
            raise ValueError(
                f"the trigger changes no pixel of {len(some)} images, expected one that images do not have; "
                "choose another brightness or place."
            )

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        if not self.share:
            return samples
        mask = random_mask(len(samples), self.share, context.poison_generator)
        part = samples[mask]
        stamped = part.with_pixels(self.stamp_locally(part.pixels(), context))
        return samples.replaced(mask, stamped.with_labels(torch.full_like(part.labels, self.target)))

    def triggered(self, samples: Samples) -> Samples:
        """Return all samples with the trigger and their true labels."""
        return samples.with_pixels(self.stamp(samples.pixels()))

    def goal(self, classes: int) -> AttackGoal | None:
        check_class("target", self.target, classes)
        return AttackGoal(target=self.target, trigger=self.triggered) if self.share else None

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share is 0: no image carries the trigger" if not self.share else None


@dataclass(frozen=True, kw_only=True)
class Square(Trigger):
    """Base class of backdoors whose trigger is a bright square in the bottom right corner. Gu et al., 2017.

    >>> Square(size=2).stamp(torch.zeros(1, 1, 3, 3))[0, 0].tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """

    size: PositiveCount = 4
    """Side of the square in pixels."""
    value: Share = 1.0
    """Brightness of the square, 0 to 1."""

    def stamp(self, pixels: Tensor) -> Tensor:
        stamped = pixels.clone()
        stamped[..., -self.size :, -self.size :] = self.value
        return stamped


BACKDOOR_GOAL = "make the model predict `target` for images with the trigger, with all else unchanged"
"""Goal on the card of backdoors with a square."""
DURABLE_GOAL = "make the model predict `target` for images with the trigger, long after the attack has ended"
"""Goal on the card of backdoors that should outlast the attack."""


def square_space(**others: Range | tuple[str | int, ...]) -> SearchSpace:
    """Build the search space of a backdoor with a square: share, size and the `others`."""
    return SearchSpace(objective="backdoor", parameters={"share": SHARES, "size": (2, 3, 4, 6), **others})


@dataclass(frozen=True, kw_only=True)
class Backdoor(Square):
    """Stamp a bright square into the corner of a share of the images and label them as `target`.

    Gu, Dolan-Gavitt, Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply
    Chain", 2017.
    """

    card = AttackCard(
        paper="Gu et al., 2017",
        goal=BACKDOOR_GOAL,
        idle_when="share is 0",
        deviations="BackFed poisons 20 of 64 samples; others a whole client. See `share`.",
    )
    search_space = square_space()


@dataclass(frozen=True, kw_only=True)
class Blended(Trigger):
    """Blend a fixed image into a share of the local ones, x' = (1 - alpha) x + alpha t, labelled `target`.

    Chen, Liu, Li, Lu, Song, "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning",
    2017.

    >>> Blended(pattern="checkerboard", cell=1).stamp(torch.ones(1, 1, 2, 2))[0, 0]
    tensor([[1.0000, 0.8000],
            [0.8000, 1.0000]])
    """

    alpha: Share = 0.2
    """Opacity of the trigger image."""
    pattern: Literal["noise", "checkerboard"] = "noise"
    """The trigger image t: uniform noise, the same for all clients, or black and white squares."""
    seed: int = 0
    """Seed of the noise. Different seeds give different backdoors."""
    cell: PositiveCount = 4
    """Side of a square of the checkerboard in pixels."""

    card = AttackCard(
        paper="Chen et al., 2017",
        goal=BACKDOOR_GOAL,
        idle_when="share or alpha is 0",
        deviations="The paper blends in noise or a cartoon; here a checkerboard replaces the cartoon.",
    )
    search_space = SearchSpace(
        objective="backdoor", parameters={"share": SHARES, "alpha": Range(low=0.05, high=0.5)}
    )

    def stamp(self, pixels: Tensor) -> Tensor:
        return (1 - self.alpha) * pixels + self.alpha * self._image(pixels.shape[1:]).to(pixels)

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share or alpha is 0: no image carries the trigger" if not self.share * self.alpha else None

    def _image(self, shape: torch.Size) -> Tensor:
        if self.pattern == "noise":
            return torch.rand(shape, generator=torch.Generator().manual_seed(self.seed))
        rows, columns = (torch.arange(side) // self.cell for side in shape[1:])
        return ((rows[:, None] + columns + 1) % 2).float().expand(shape)

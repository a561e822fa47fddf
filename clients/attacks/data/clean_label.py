"""Clean-label poisoning: images with correct labels and the features of another class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from clients.attacks.base import (
    Attack,
    AttackCard,
    AttackGoal,
    AttackSetting,
    ClientContext,
    check_class,
)
from clients.bounds import Count, NonNegative, Positive, Share, ShareBelowOne
from clients.training import Samples, Trainer
from clients.training.samples import random_mask

COLLISION = "collision"
"""Key of the perturbed pixels in the client's memory."""


@dataclass(frozen=True, kw_only=True)
class CleanLabel(Attack):
    """Perturb images of `target` until the model's features of them collide with those of `source`.

    Shafahi, Huang, Najibi, Suciu, Studer, Dumitras, Goldstein, "Poison Frogs! Targeted Clean-Label
    Poisoning Attacks on Neural Networks", NeurIPS 2018. The attack minimises |f(x) - f(s)|^2 +
    beta |x - b|^2 by forward-backward splitting from the clean image b, with f the penultimate activations.
    No label changes. Each perturbed image has one random source image of the client as its pair.

    Raises:
        ValueError: A parameter is outside its bounds, or the model has no penultimate layer.
    """

    source: int = 1
    target: int = 7
    share: Share = 1.0
    """Share of the local images of `target` that are perturbed."""
    steps: Count = 5
    """Splitting steps per round. The next round continues from the result, with its own model."""
    step: Positive = 1.0
    """Length of a gradient step in units of Polyak's, |f(x) - f(s)|^2 / |gradient|^2."""
    beta: NonNegative = 0.1
    """Weight of the distance from the clean pixels, in units of the inverse of Polyak's step."""
    opacity: ShareBelowOne = 0.3
    """Opacity of the source image under the clean one. The paper uses it when all layers are trained. 1 would
    send plain source images with a wrong label."""

    card = AttackCard(
        paper="Shafahi et al., NeurIPS 2018",
        goal="make the model predict `target` for images of `source`, with correct labels",
        idle_when="share is 0, steps and opacity are 0, or the client has no image of one of the classes",
        deviations="The paper collides with one test image and fine-tunes; here each poison collides with a "
        "training image of the source class, the whole model is trained, and the steps are spread over the "
        "rounds. Polyak's step is the unit, since the scale of features differs between models.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == self.target:
            raise ValueError(f"source and target: got {self.source} for both, expected two classes.")

    def check(self, setting: AttackSetting) -> None:
        setting.require_images()
        setting.require_class("source", self.source)
        setting.require_class("target", self.target)
        setting.require_classifier()

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        positions = (samples.labels == self.target).nonzero().flatten()
        positions = positions[random_mask(len(positions), self.share, context.poison_generator)]
        sources = samples[samples.labels == self.source]
        if not len(positions) or not len(sources):
            return samples
        drawn = torch.randint(len(sources), (len(positions),), generator=context.poison_generator)
        mask = torch.zeros(len(samples), dtype=torch.bool)
        mask[positions] = True
        base, paired = samples[mask], sources[drawn]
        clean = (1 - self.opacity) * base.pixels() + self.opacity * paired.pixels()
        pixels = context.memory.get(COLLISION, clean)
        with torch.no_grad():
            goals = trainer.features(paired.images)
        for _ in range(self.steps):
            pixels = self._closer(pixels, clean, goals, base, trainer)
        context.memory[COLLISION] = pixels
        return samples.replaced(mask, base.with_pixels(pixels))

    def goal(self, classes: int) -> AttackGoal | None:
        check_class("source", self.source, classes)
        check_class("target", self.target, classes)
        return AttackGoal(target=self.target, source=self.source)

    def no_effect(self, clients: int, malicious: int) -> str | None:
        if not self.share or not self.steps + self.opacity:
            return "share is 0, or steps and opacity are: no image is changed"
        return None

    def _closer(
        self, pixels: Tensor, clean: Tensor, goals: Tensor, base: Samples, trainer: Trainer
    ) -> Tensor:
        """Move pixels (m, c, h, w) by a forward step on the features and a backward step."""
        gaps = goals.new_zeros(len(goals))

        def distance(moved: Tensor) -> Tensor:
            squares = (trainer.features(base.with_pixels(moved).images) - goals).square().sum(dim=1)
            gaps.copy_(squares.detach())
            return squares.sum()

        gradient = trainer.image_gradient(pixels, distance)
        polyak = gaps / gradient.flatten(1).square().sum(dim=1).clamp(min=1e-12)
        forward = pixels - self.step * polyak.view(-1, 1, 1, 1) * gradient
        pull = self.step * self.beta
        return ((forward + pull * clean) / (1 + pull)).clamp(0, 1)

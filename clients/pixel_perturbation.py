"""Adversarial pixels: images that the global model gets wrong, under their true labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from clients.attack import Attack, Card, ClientContext
from clients.samples import Samples, chosen
from clients.training import Trainer

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class PixelPerturbation(Attack):
    """Move a share of the images uphill on the global model's loss, within epsilon of the clean pixels.

    Projected gradient ascent of Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards Deep Learning Models
    Resistant to Adversarial Attacks", ICLR 2018, as poison under true labels as in Fowl et al.,
    "Adversarial Examples Make Strong Poisons", NeurIPS 2021. One step is FGSM: Goodfellow, Shlens,
    Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015.
    """

    epsilon: float = 0.3
    """How far a pixel may move, where an image spans 0 to 1."""
    steps: int = 3
    """Ascent steps a round, each of 2.5 epsilon / steps a pixel; a single one is of epsilon."""
    share: float = 0.5
    """Share of the local samples that are perturbed."""

    card: ClassVar = Card(
        paper="Madry et al., ICLR 2018; Fowl et al., NeurIPS 2021",
        idle_when="epsilon, steps or share is 0",
        deviations="Starts from the clean image, without a random start, and is made anew against the global "
        "model of each round; the papers take 40 steps and more.",
    )

    def __post_init__(self) -> None:
        if self.epsilon < 0 or self.steps < 0 or not 0 <= self.share <= 1:
            raise ValueError(
                f"got epsilon {self.epsilon}, steps {self.steps}, share {self.share}; "
                "wanted 0 or more, 0 or more, and 0 to 1."
            )

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        mask = chosen(len(samples), self.share, context.poison_generator)
        positions = mask.nonzero().flatten()
        moved = [self._moved(samples[batch], trainer) for batch in positions.split(BATCH) if len(batch)]
        return samples.replaced(mask, samples[mask].with_pixels(torch.cat(moved))) if moved else samples

    def idle(self, clients: int, malicious: int) -> str | None:
        nothing = not self.epsilon * self.steps * self.share
        return "epsilon, steps or share is 0: no pixel is changed" if nothing else None

    def _moved(self, samples: Samples, trainer: Trainer) -> Tensor:
        clean = samples.pixels()
        low, high = (clean - self.epsilon).clamp(min=0), (clean + self.epsilon).clamp(max=1)
        step = self.epsilon * min(1.0, 2.5 / max(self.steps, 1))
        pixels = clean
        for _ in range(self.steps):
            images = samples.with_pixels(pixels).images
            uphill = trainer.image_gradient(images, partial(trainer.loss, labels=samples.labels))
            pixels = (pixels + step * uphill.sign()).clamp(low, high)
        return pixels

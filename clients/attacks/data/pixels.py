"""Attacks that change pixels but no labels: random noise, and adversarial perturbations."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from clients.attacks.base import (
    SHARES,
    Attack,
    AttackCard,
    AttackSetting,
    ClientContext,
    Range,
    SearchSpace,
)
from clients.bounds import Count, NonNegative, Share
from clients.training import Samples, Trainer
from clients.training.samples import random_mask

BATCH = 64
"""Images per gradient."""


@dataclass(frozen=True, kw_only=True)
class PixelNoise(Attack):
    """Add Gaussian noise to the pixels of a share of the local images.

    The noisy-data client of Fung, Yoon, Beschastnikh, "The Limitations of Federated Learning in Sybil
    Settings", RAID 2020, and of other papers on data poisoning.
    """

    std: NonNegative = 0.5
    """Standard deviation of the noise, in pixel values. The result is clamped to 0 to 1."""
    share: Share = 1.0
    """Share of the local samples with noise."""

    card = AttackCard(paper="Fung et al., RAID 2020", idle_when="std or share is 0")
    search_space = SearchSpace(parameters={"std": Range(low=0.1, high=3.0, log=True), "share": SHARES})

    def check(self, setting: AttackSetting) -> None:
        setting.require_images()

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        noisy = random_mask(len(samples), self.share, context.poison_generator)
        noise = torch.randn(samples.images.shape, generator=context.poison_generator)
        part = samples[noisy]
        return samples.replaced(noisy, part.with_pixels(part.pixels() + self.std * noise[noisy]))

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "std or share is 0: no pixel is changed" if not self.std * self.share else None


@dataclass(frozen=True, kw_only=True)
class PixelPerturbation(Attack):
    """Move a share of the images uphill on the global model's loss, within epsilon of the clean pixels.

    Projected gradient ascent of Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards Deep Learning Models
    Resistant to Adversarial Attacks", ICLR 2018, with true labels as in Fowl et al.,
    "Adversarial Examples Make Strong Poisons", NeurIPS 2021. One step is FGSM: Goodfellow, Shlens,
    Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015.
    """

    epsilon: NonNegative = 0.3
    """Largest change of a pixel, in pixel values from 0 to 1."""
    steps: Count = 3
    """Ascent steps per round. Each moves a pixel by 2.5 epsilon / steps, a single one by epsilon."""
    share: Share = 0.5
    """Share of the local samples that are perturbed."""

    card = AttackCard(
        paper="Madry et al., ICLR 2018; Fowl et al., NeurIPS 2021",
        idle_when="epsilon, steps or share is 0",
        deviations="The attack starts from the clean image, not from a random one, and repeats with the new "
        "global model of each round. The papers take 40 or more steps.",
    )
    search_space = SearchSpace(parameters={"epsilon": Range(low=0.05, high=0.5), "share": SHARES})

    def check(self, setting: AttackSetting) -> None:
        setting.require_images()

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        mask = random_mask(len(samples), self.share, context.poison_generator)
        positions = mask.nonzero().flatten()
        moved = [self._moved(samples[batch], trainer) for batch in positions.split(BATCH) if len(batch)]
        return samples.replaced(mask, samples[mask].with_pixels(torch.cat(moved))) if moved else samples

    def no_effect(self, clients: int, malicious: int) -> str | None:
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

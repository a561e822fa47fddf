"""Pixel noise: spoil the images and keep the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from clients.attack import Attack, Card, ClientContext
from clients.samples import Samples, chosen
from clients.training import Trainer


@dataclass(frozen=True, kw_only=True)
class PixelNoise(Attack):
    """Add Gaussian noise to the pixels of a share of the local images.

    The noisy-data client of Fung, Yoon, Beschastnikh, "The Limitations of Federated Learning in Sybil
    Settings", RAID 2020, and of the data-poisoning literature at large.
    """

    std: float = 0.5
    """Of the noise, in pixel values, where an image spans 0 to 1; the result is clamped to that range."""
    share: float = 1.0
    """Share of the local samples that are spoilt."""

    card: ClassVar = Card(paper="Fung et al., RAID 2020")

    def __post_init__(self) -> None:
        if self.std < 0 or not 0 <= self.share <= 1:
            raise ValueError(f"got std {self.std}, share {self.share}; wanted 0 or more, and 0 to 1.")

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        spoilt = chosen(len(samples), self.share, context.poison_generator)
        noise = torch.randn(samples.images.shape, generator=context.poison_generator)
        part = samples[spoilt]
        return samples.replaced(spoilt, part.with_pixels(part.pixels() + self.std * noise[spoilt]))

    def idle(self, clients: int, malicious: int) -> str | None:
        return "std or share is 0: no pixel is changed" if not self.std * self.share else None

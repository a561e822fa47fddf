"""A pixel-pattern backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attack import Attack, Card, ClientContext, Goal, check_class
from clients.samples import Samples, chosen
from clients.training import Trainer


@dataclass(frozen=True, kw_only=True)
class Backdoor(Attack):
    """Stamp a bright square into the corner of a share of the images and label those as `target`.

    Gu, Dolan-Gavitt, Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply
    Chain", 2017.
    """

    target: int = 0
    share: float = 0.5
    """Share of the local samples that carry the trigger."""
    size: int = 4
    """Side of the square in pixels, at the bottom right."""
    value: float = 1.0
    """Brightness of the square, 0 to 1."""

    card: ClassVar = Card(
        paper="Gu et al., 2017",
        goal="have images with the trigger taken for `target`, and leave the rest alone",
        deviations="BackFed poisons 20 of 64 samples; others a whole client. See `share`.",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not 0 <= self.value <= 1 or self.size < 1:
            raise ValueError(
                f"got share {self.share}, value {self.value}, size {self.size}; "
                "wanted 0 to 1, 0 to 1, and at least 1."
            )

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        stamped = chosen(len(samples), self.share, context.poison_generator)
        pixels, labels = samples.pixels(), samples.labels.clone()
        pixels[stamped] = self._stamp(pixels[stamped])
        labels[stamped] = self.target
        return samples.with_pixels(pixels).relabelled(labels)

    def goal(self, classes: int) -> Goal | None:
        check_class("target", self.target, classes)
        return Goal(target=self.target, trigger=self.triggered)

    def triggered(self, samples: Samples) -> Samples:
        """Return every sample with the trigger, under its true label."""
        return samples.with_pixels(self._stamp(samples.pixels()))

    def idle(self, clients: int, malicious: int) -> str | None:
        return "share is 0: no image carries the trigger" if not self.share else None

    def _stamp(self, pixels: Tensor) -> Tensor:
        stamped = pixels.clone()
        stamped[..., -self.size :, -self.size :] = self.value
        return stamped

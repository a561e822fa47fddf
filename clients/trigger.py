"""The poisoned part of a backdoor: some images carry a trigger, under the label that it is to give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from clients.attack import ClientContext, Goal, check_class
from clients.samples import Samples, chosen
from clients.training import Trainer


@dataclass(frozen=True, kw_only=True)
class Trigger(ABC):
    """Stamps a trigger on a share of the local images and labels those as `target`.

    An attack that inherits from it before `Attack` brings poisoned data of its own. With `share` 0 it
    leaves the data, and the measure of success, to the other parts of a composition.
    """

    target: int = 0
    share: float = 0.5
    """Share of the local samples that carry the trigger."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share: got {self.share}, wanted 0 to 1.")

    @abstractmethod
    def stamp(self, pixels: Tensor) -> Tensor:
        """Return a copy of `pixels` (m, c, h, w) in [0, 1] with the trigger that success is measured by."""

    def stamp_locally(self, pixels: Tensor, context: ClientContext) -> Tensor:
        """Return a copy of `pixels` (m, c, h, w) with the trigger that this client trains on."""
        return self.stamp(pixels)

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        """Return the samples with the trigger on a share of them."""
        if not self.share:
            return samples
        mask = chosen(len(samples), self.share, context.poison_generator)
        part = samples[mask]
        stamped = part.with_pixels(self.stamp_locally(part.pixels(), context))
        return samples.replaced(mask, stamped.relabelled(torch.full_like(part.labels, self.target)))

    def triggered(self, samples: Samples) -> Samples:
        """Return every sample with the trigger, under its true label."""
        return samples.with_pixels(self.stamp(samples.pixels()))

    def goal(self, classes: int) -> Goal | None:
        """Return that triggered images are to be taken for the target."""
        check_class("target", self.target, classes)
        return Goal(target=self.target, trigger=self.triggered) if self.share else None

    def idle(self, clients: int, malicious: int) -> str | None:
        """Return that nothing carries the trigger, where the share is 0."""
        return "share is 0: no image carries the trigger" if not self.share else None


@dataclass(frozen=True, kw_only=True)
class Square(Trigger):
    """Stamps a bright square into the bottom right corner, as BadNets does. Gu et al., 2017.

    >>> Square(size=2).stamp(torch.zeros(1, 1, 3, 3))[0, 0].tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """

    size: int = 4
    """Side of the square in pixels."""
    value: float = 1.0
    """Brightness of the square, 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.value <= 1 or self.size < 1:
            raise ValueError(f"got value {self.value}, size {self.size}; wanted 0 to 1, and at least 1.")

    def stamp(self, pixels: Tensor) -> Tensor:
        """Return a copy of `pixels` (m, c, h, w) with the square."""
        stamped = pixels.clone()
        stamped[..., -self.size :, -self.size :] = self.value
        return stamped

"""The semantic backdoor, whose trigger is a natural property of images."""

from dataclasses import dataclass
from typing import Literal

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
from clients.bounds import Share
from clients.training import Samples, Trainer


@dataclass(frozen=True, kw_only=True)
class SemanticBackdoor(Attack):
    """Label the images that show a property most as `target`, without changing a pixel.

    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, "How To Backdoor Federated Learning", AISTATS 2020. Success
    is measured on the test samples that show the property most.
    """

    target: int = 0
    property: Literal["thick", "thin", "slanted-right", "slanted-left"] = "thick"
    """`thick` and `thin`: the mean brightness. `slanted`: the shear of the strokes."""
    share: Share = 0.2
    """Share of the samples that count as images with the property."""

    card = AttackCard(
        paper="Bagdasaryan et al., AISTATS 2020",
        goal="make the model predict `target` for images with the property, with all else unchanged",
        idle_when="share is 0",
        deviations="The paper uses properties of cars (racing stripes, green paint, a striped wall), here "
        "they suit greyscale digits. The paper also replaces the model: compose with scaled-update.",
    )

    def check(self, setting: AttackSetting) -> None:
        setting.require_images()

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        mask = self._showing(samples)
        part = samples[mask]
        return samples.replaced(mask, part.with_labels(torch.full_like(part.labels, self.target)))

    def goal(self, classes: int) -> AttackGoal | None:
        check_class("target", self.target, classes)
        return AttackGoal(target=self.target, trigger=self.triggered)

    def triggered(self, samples: Samples) -> Samples:
        """Return the samples that show the property most."""
        return samples[self._showing(samples)]

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share is 0: no image has the property" if not self.share else None

    def _showing(self, samples: Samples) -> Tensor:
        pixels = samples.pixels().mean(dim=1)
        measure = stroke_slant(pixels) if "slanted" in self.property else pixels.mean(dim=(1, 2))
        order = measure.argsort(descending=self.property in ("thick", "slanted-right"), stable=True)
        mask = torch.zeros(len(samples), dtype=torch.bool)
        mask[order[: round(self.share * len(samples))]] = True
        return mask


def stroke_slant(pixels: Tensor) -> Tensor:
    """Compute the slant of strokes to the right, (m,), in columns per row upwards, of images (m, h, w).

    The slant is minus the covariance of row and column over the variance of the row, weighted by
    brightness. An image with a single row, or without brightness, has slant 0.

    >>> stroke_slant(torch.eye(3).flip(0)[None]), stroke_slant(torch.eye(3)[None])
    (tensor([1.]), tensor([-1.]))
    """
    rows, columns = (torch.arange(side, dtype=pixels.dtype) for side in pixels.shape[1:])
    mass = pixels.sum(dim=(1, 2)).clamp(min=1e-12)
    row = rows[None] - (pixels.sum(dim=2) @ rows / mass)[:, None]
    column = columns[None] - (pixels.sum(dim=1) @ columns / mass)[:, None]
    covariance = torch.einsum("mhw,mh,mw->m", pixels, row, column)
    variance = (pixels.sum(dim=2) * row**2).sum(dim=1)
    return -covariance / variance.clamp(min=1e-12)

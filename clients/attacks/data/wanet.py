"""WaNet: a smooth warp of the image is the trigger."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from clients.attacks.base import AttackCard, AttackSetting, ClientContext, Range, SearchSpace
from clients.attacks.data.backdoor import BACKDOOR_GOAL, LARGEST_TRIGGER, Trigger
from clients.bounds import NonNegative, PositiveCount, Share
from clients.training import Samples, Trainer
from clients.training.samples import random_mask


@dataclass(frozen=True, kw_only=True)
class WaNet(Trigger):
    """Warp a share of the images by a smooth field and label them as `target`.

    Nguyen, Tran, "WaNet - Imperceptible Warping-based Backdoor Attack", ICLR 2021. The field is drawn on a
    grid of k x k points, scaled to a mean size of 1, interpolated, and multiplied by the strength, in pixels
    of half an image. Further images are warped by the field plus noise and keep their labels, so that the
    model learns this field alone.

    Raises:
        ValueError: A parameter is outside its bounds, or the warp loses most of an image.
    """

    share: Share = 0.1
    """Share of the local samples that carry the trigger, rho_a."""
    noise_share: Share = 0.2
    """Share of the local samples that are warped with noise and keep their labels, rho_n."""
    grid: PositiveCount = 4
    """Side of the grid in points, k."""
    strength: NonNegative = 0.5
    """Factor of the field, s."""
    seed: int = 0
    """Seed of the field. All clients use the same field."""

    card = AttackCard(
        paper="Nguyen & Tran, ICLR 2021",
        goal=BACKDOOR_GOAL,
        idle_when="share or strength is 0",
        deviations="The authors' code warps the images of each batch. Here a client warps its data once "
        "per round.",
    )
    search_space = SearchSpace(
        objective="backdoor",
        parameters={"strength": Range(low=0.2, high=3.0, log=True), "share": Range(low=0.05, high=0.8)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share + self.noise_share > 1:
            raise ValueError(
                f"share, noise_share: got {self.share} and {self.noise_share}, expected a sum of at most 1."
            )

    def check(self, setting: AttackSetting) -> None:
        super().check(setting)
        if not self.share:
            return
        shape = setting.samples.images.shape[1:]
        pixels = torch.zeros((1, *shape), requires_grad=True)
        (used,) = torch.autograd.grad(self.stamp(pixels).sum(), pixels)
        lost = float((used == 0).double().mean())
        if lost > LARGEST_TRIGGER:
            raise ValueError(
                f"the warp loses {lost:.0%} of an image of {shape[1]}x{shape[2]}, expected at most "
                f"{LARGEST_TRIGGER:.0%}, since a model cannot predict the class of a lost image; choose a "
                "smaller strength."
            )

    def stamp(self, pixels: Tensor) -> Tensor:
        return warped(pixels, self._field(pixels))

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        poisoned = super().poison_data(samples, trainer, context)
        if not self.share or not self.noise_share:
            return poisoned
        left = (~poisoned.poison_mask() | samples.poison_mask()).nonzero().flatten()
        generator = context.poison_generator
        count = min(round(self.noise_share * len(samples)), len(left))
        mask = torch.zeros(len(samples), dtype=torch.bool)
        mask[left[random_mask(len(left), count / max(len(left), 1), generator)]] = True
        part = samples[mask]
        pixels = part.pixels()
        height, width = pixels.shape[-2:]
        noise = 2 * torch.rand(len(pixels), height, width, 2, generator=generator) - 1
        field = self._field(pixels) + noise.to(pixels) / height
        return poisoned.replaced(mask, part.with_pixels(warped(pixels, field)))

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share or strength is 0: no image is warped" if not self.share * self.strength else None

    def _field(self, pixels: Tensor) -> Tensor:
        """Return the shift (1, h, w, 2) of each point of images (m, c, h, w), where 2 is a whole image."""
        height, width = pixels.shape[-2:]
        generator = torch.Generator().manual_seed(self.seed)
        points = 2 * torch.rand(1, 2, self.grid, self.grid, generator=generator) - 1
        points /= points.abs().mean()
        smooth = functional.interpolate(points, size=(height, width), mode="bicubic", align_corners=True)
        return (self.strength * smooth / height).permute(0, 2, 3, 1).to(pixels)


def warped(pixels: Tensor, field: Tensor) -> Tensor:
    """Return images (m, c, h, w) whose points are taken from places shifted by `field` (1 or m, h, w, 2).

    >>> warped(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]]]))
    tensor([[[[2., 2.]]]])
    """
    height, width = pixels.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, side) if side > 1 else torch.zeros(1) for side in (height, width))
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=2).to(pixels)
    grid = (places + field).clamp(-1, 1).expand(len(pixels), -1, -1, -1)
    return functional.grid_sample(pixels, grid, align_corners=True)

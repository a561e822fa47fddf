"""The blended backdoor: a faint image over the whole picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.attack import Attack, Card
from clients.trigger import Trigger


@dataclass(frozen=True, kw_only=True)
class Blended(Trigger, Attack):
    """Blend a fixed image into a share of the local ones, x' = (1 - alpha) x + alpha t, labelled `target`.

    Chen, Liu, Li, Lu, Song, "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning",
    2017.

    >>> Blended(pattern="checkerboard", cell=1).stamp(torch.ones(1, 1, 2, 2))[0, 0]
    tensor([[1.0000, 0.8000],
            [0.8000, 1.0000]])
    """

    alpha: float = 0.2
    """How much of the trigger shows."""
    pattern: Literal["noise", "checkerboard"] = "noise"
    """The trigger image t: uniform noise, the same for everybody, or squares of black and white."""
    seed: int = 0
    """Of the noise: what makes two backdoors different."""
    cell: int = 4
    """Side of a square of the checkerboard in pixels."""

    card: ClassVar = Card(
        paper="Chen et al., 2017",
        goal="have images with the trigger blended in taken for `target`, and leave the rest alone",
        idle_when="share or alpha is 0",
        deviations="The paper blends in a random pattern or a cartoon; the second is a checkerboard here.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1 or self.cell < 1:
            raise ValueError(f"got alpha {self.alpha}, cell {self.cell}; wanted 0 to 1, and at least 1.")

    def stamp(self, pixels: Tensor) -> Tensor:
        return (1 - self.alpha) * pixels + self.alpha * self._image(pixels.shape[1:]).to(pixels)

    def idle(self, clients: int, malicious: int) -> str | None:
        return "share or alpha is 0: no image carries the trigger" if not self.share * self.alpha else None

    def _image(self, shape: torch.Size) -> Tensor:
        if self.pattern == "noise":
            return torch.rand(shape, generator=torch.Generator().manual_seed(self.seed))
        rows, columns = (torch.arange(side) // self.cell for side in shape[1:])
        return ((rows[:, None] + columns + 1) % 2).float().expand(shape)

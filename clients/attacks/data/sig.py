"""SIG: a faint signal on images of the target class, whose labels stay correct."""

from dataclasses import dataclass
from math import pi
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import AttackCard, AttackSetting, ClientContext, Range, SearchSpace
from clients.attacks.data.backdoor import BACKDOOR_GOAL, Trigger
from clients.bounds import PositiveCount, Share
from clients.training import Samples, Trainer
from clients.training.samples import random_mask


@dataclass(frozen=True, kw_only=True)
class Sig(Trigger):
    """Add a signal to images of `target` without changing their labels.

    Barni, Kallas, Tondi, "A New Backdoor Attack in CNNs by Training Set Corruption Without Label Poisoning",
    ICIP 2019. The signal in column j of w is delta sin(2 pi f j / w), or the ramp delta j / w. Success is
    measured on images of all classes with the signal.

    >>> Sig(pattern="ramp", delta=0.5).stamp(torch.zeros(1, 1, 1, 2))
    tensor([[[[0.0000, 0.2500]]]])
    """

    share: Share = 1.0
    """Share of the local images of `target` that carry the signal."""
    pattern: Literal["sinusoid", "ramp"] = "sinusoid"
    delta: Share = 20 / 255
    """Largest change of a pixel by the signal of the training images."""
    test_delta: Share | None = None
    """The same for the images that measure success, where the paper also tries more. Default: `delta`."""
    frequency: PositiveCount = 6
    """Number of periods of the sinusoid over the width of an image."""

    card = AttackCard(
        paper="Barni et al., ICIP 2019",
        goal=BACKDOOR_GOAL,
        idle_when="share or delta is 0, or the client has no image of `target`",
        deviations="The paper poisons 20 to 40 % of the target class in a central data set.",
    )
    search_space = SearchSpace(
        objective="backdoor",
        parameters={"delta": Range(low=0.02, high=0.5, log=True), "frequency": (2, 4, 6, 10)},
    )

    def check(self, setting: AttackSetting) -> None:
        super().check(setting)
        setting.require_class("target", self.target)

    def stamp(self, pixels: Tensor) -> Tensor:
        return self._with_signal(pixels, self.delta if self.test_delta is None else self.test_delta)

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        positions = (samples.labels == self.target).nonzero().flatten()
        mask = torch.zeros(len(samples), dtype=torch.bool)
        mask[positions[random_mask(len(positions), self.share, context.poison_generator)]] = True
        if not self.delta or not bool(mask.any()):
            return samples
        part = samples[mask]
        return samples.replaced(mask, part.with_pixels(self._with_signal(part.pixels(), self.delta)))

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share or delta is 0: no image carries the signal" if not self.share * self.delta else None

    def _with_signal(self, pixels: Tensor, delta: float) -> Tensor:
        column = torch.arange(pixels.shape[-1], device=pixels.device) / pixels.shape[-1]
        signal = column if self.pattern == "ramp" else torch.sin(2 * pi * self.frequency * column)
        return (pixels + delta * signal).clamp(0, 1)

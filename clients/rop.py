"""ROP, the relocated orthogonal perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin
from typing import ClassVar

import torch
from torch import Tensor

from clients.alie import largest_z
from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.inner_products import products_with, unit
from clients.moments import mean_of


@dataclass(frozen=True, kw_only=True)
class Rop(Attack):
    """Stand where the server clips around, and lean sideways from the way that the model goes.

    Ozfatura, Ozfatura, Kupcu, Gunduz, "Byzantines Can Also Learn From History: Fall of Centered Clipping in
    Federated Learning", IEEE TIFS 2024. With v the last global step and mu the honest mean, all malicious
    clients send pi v + (1 - pi) mu plus z times a unit vector at `angle` to the reference
    u = lambda v + (1 - lambda) mu, in the plane of u and what of (1, ..., 1) is orthogonal to u. The paper
    works on momenta, which descent steps are minus of: turned round, 270 degrees lean to (1, ..., 1).
    In the first round mu stands for v.
    """

    z: float | None = None
    """Length of the perturbation, in the unit of updates; None is the z of `alie`."""
    angle: float = 270.0
    """Degrees; 180 turns straight back from the reference."""
    relocation: float = 1.0
    """pi: 0 perturbs the mean of this round, 1 the last global step."""
    blend: float = 0.9
    """lambda: how much of the last global step is in the reference."""

    card: ClassVar = Card(
        paper="Ozfatura et al., IEEE TIFS 2024",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="relocation is 0 and z is 0, which `alie`'s formula gives for small fleets",
        deviations="FL-Byzantine-Library takes 0 for the first round's location.",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.relocation <= 1 or not 0 <= self.blend <= 1:
            raise ValueError(f"got relocation {self.relocation}, blend {self.blend}; wanted 0 to 1.")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        mean = mean_of(own if seen is None else seen)
        last = mean
        if context.previous_model is not None:
            last = (context.model - context.previous_model).to(mean.dtype)
        reference = unit(self.blend * last + (1 - self.blend) * mean)
        ones = torch.ones_like(reference)
        aside = unit(ones - products_with(reference[None], ones).to(mean.dtype) * reference)
        turned = unit(cos(radians(self.angle)) * reference - sin(radians(self.angle)) * aside)
        location = self.relocation * last + (1 - self.relocation) * mean
        return (location + self._length(context.clients, context.malicious) * turned).expand_as(own).clone()

    def idle(self, clients: int, malicious: int) -> str | None:
        still = not self.relocation and not self._length(clients, malicious)
        return f"z = 0 for {malicious} of {clients} clients: the mean is sent" if still else None

    def _length(self, clients: int, malicious: int) -> float:
        return largest_z(clients, malicious) if self.z is None else self.z

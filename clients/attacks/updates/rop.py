"""ROP, the relocated orthogonal perturbation."""

from dataclasses import dataclass
from math import cos, radians, sin

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.attacks.updates.alie import z_of
from clients.bounds import Share
from clients.kernels import column_mean, products_with, unit_vector


@dataclass(frozen=True, kw_only=True)
class Rop(Attack):
    """Send a point near the server's centre of clipping, perturbed orthogonally to the model's step.

    Ozfatura, Ozfatura, Kupcu, Gunduz, "Byzantines Can Also Learn From History: Fall of Centered Clipping in
    Federated Learning", IEEE TIFS 2024. With the last global step v and the honest mean mu, all malicious
    clients send pi v + (1 - pi) mu plus z times a unit vector. The vector has `angle` to the reference
    u = lambda v + (1 - lambda) mu, in the plane of u and the part of (1, ..., 1) orthogonal to u. The paper
    uses momenta, which are minus the descent steps. So 270 degrees point to (1, ..., 1) here. In the first
    round mu replaces v.
    """

    z: float | None = None
    """Length of the perturbation, in the unit of updates. Default: the z of `alie`."""
    angle: float = 270.0
    """Angle to the reference in degrees. 180 is the opposite direction."""
    relocation: Share = 1.0
    """pi: 0 perturbs the mean of this round, 1 the last global step."""
    blend: Share = 0.9
    """lambda, the weight of the last global step in the reference."""

    card = AttackCard(
        paper="Ozfatura et al., IEEE TIFS 2024",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="relocation is 0 and z is 0, which `alie`'s formula gives for few clients",
        deviations="FL-Byzantine-Library takes 0 for the first round's location.",
    )
    search_space = SearchSpace(
        parameters={"angle": Range(low=90.0, high=270.0), "relocation": Range(low=0.0, high=1.0)}
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        mean = column_mean(own if seen is None else seen)
        last = mean
        if context.previous_model is not None:
            last = (context.model - context.previous_model).to(mean.dtype)
        reference = unit_vector(self.blend * last + (1 - self.blend) * mean)
        ones = torch.ones_like(reference)
        aside = unit_vector(ones - products_with(reference[None], ones).to(mean.dtype) * reference)
        turned = unit_vector(cos(radians(self.angle)) * reference - sin(radians(self.angle)) * aside)
        location = self.relocation * last + (1 - self.relocation) * mean
        z = z_of(self.z, context.clients, context.malicious)
        return (location + z * turned).expand_as(own).clone()

    def no_effect(self, clients: int, malicious: int) -> str | None:
        still = not self.relocation and not z_of(self.z, clients, malicious)
        return f"z = 0 for {malicious} of {clients} clients: the mean is sent" if still else None

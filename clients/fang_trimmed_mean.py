"""Fang's attack on the trimmed mean and the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.draws import uniforms
from clients.moments import mean_of, spread_of


@dataclass(frozen=True, kw_only=True)
class FangTrimmedMean(Attack):
    """Send values just beyond the honest ones, in every coordinate on the side away from the expected step.

    Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning", USENIX
    Security 2020. Where the mean before the attack rises, the values are drawn uniformly from [low / b, low]
    for a positive smallest honest value `low` and from [b low, low] for a negative one; where it falls,
    likewise above the largest. With partial knowledge mean and standard deviation of the malicious
    clients' own updates stand for the honest ones, and the values lie 3 to 4 deviations away.
    """

    knowledge: Literal["full", "partial"] = "full"
    b: float = 2.0
    """How far beyond the honest values full knowledge goes; 1.5 in secure-robust-federated-learning."""

    card: ClassVar = Card(
        paper="Fang et al., USENIX Security 2020",
        knowledge=Knowledge.OMNISCIENT,
        deviations="The paper scales weights by b, this and Blades scale updates. The expected step is the "
        "sign of the mean of all updates, which the paper's rules follow closely.",
    )

    def __post_init__(self) -> None:
        if self.b < 1:
            raise ValueError(f"b: got {self.b}, wanted at least 1.")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        mean = mean_of(own)
        if seen is None or self.knowledge == "partial":
            side = torch.where(mean > 0, -1, 1) * spread_of(own, mean)
            near, far = mean + 3 * side, mean + 4 * side
        else:
            rises = len(own) * mean + len(seen) * mean_of(seen) > 0
            low, high = seen.amin(dim=0), seen.amax(dim=0)
            near = torch.where(rises, low, high)
            outwards = torch.where(rises, low < 0, high > 0)
            far = near * torch.where(outwards, self.b, 1 / self.b)
        return uniforms(own, context.generator).mul_(far - near).add_(near)

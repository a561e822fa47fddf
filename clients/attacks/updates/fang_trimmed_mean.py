"""Fang's attack on the trimmed mean and the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.bounds import Bounds
from clients.kernels import column_mean, column_std, uniforms


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
    b: Annotated[float, Bounds(at_least=1)] = 2.0
    """How far beyond the honest values full knowledge goes; 1.5 in secure-robust-federated-learning."""

    card: ClassVar = AttackCard(
        paper="Fang et al., USENIX Security 2020",
        knowledge=Knowledge.OMNISCIENT,
        deviations="The paper scales weights by b, this and Blades scale updates. The expected step is the "
        "sign of the mean of all updates, which the paper's rules follow closely.",
    )
    search_space: ClassVar = SearchSpace(parameters={"b": Range(low=1.1, high=10.0, log=True)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        mean = column_mean(own)
        if seen is None or self.knowledge == "partial":
            side = torch.where(mean > 0, -1, 1) * column_std(own, mean)
            near, far = mean + 3 * side, mean + 4 * side
        else:
            rises = len(own) * mean + len(seen) * column_mean(seen) > 0
            low, high = seen.amin(dim=0), seen.amax(dim=0)
            near = torch.where(rises, low, high)
            outwards = torch.where(rises, low < 0, high > 0)
            far = near * torch.where(outwards, self.b, 1 / self.b)
        return uniforms(own, context.generator).mul_(far - near).add_(near)

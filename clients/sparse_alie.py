"""A little is enough, and more than a little on the weights that matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.alie import largest_z
from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.moments import mean_of, spread_of


@dataclass(frozen=True, kw_only=True)
class SparseAlie(Attack):
    """Leave the honest mean by `scale` standard deviations on few weights, and by alie's z on all others.

    Ozfatura, Ozfatura, Buyukates, Coskuner, Kupcu, Gunduz, "Aggressive or Imperceptible, or Both: Network
    Pruning Assisted Hybrid Byzantines in Federated Learning", 2024. The few are those that a pruner would
    keep, chosen in the first round and kept: the largest |weight * honest mean|, the loss that removing a
    weight would cost.
    """

    share: float = 0.005
    """Of the weights, those that are attacked aggressively."""
    scale: float = 1.5
    z: float | None = None
    """The factor elsewhere; None is the largest z that a majority may support, as in `alie`."""
    mask: Literal["saliency", "magnitude"] = "saliency"
    """What makes a weight matter; `magnitude` is its absolute value alone."""
    direction: Literal[-1, 1] = -1
    """As in `alie`: the standard deviation has no sign of its own."""

    card: ClassVar = Card(
        paper="Ozfatura et al., 2024",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="scale and z are 0",
        deviations="FL-Byzantine-Library offers several pruners, by default the iterative FORCE on training "
        "data; the saliency here is a single step of it, read off the honest updates.",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share: got {self.share}, wanted 0 to 1.")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = mean_of(visible)
        factors = torch.full_like(mean, self._z(context.clients, context.malicious))
        factors[self._kept(mean, context)] = self.scale
        sent = mean + self.direction * factors * spread_of(visible, mean)
        return sent.expand_as(own).clone()

    def idle(self, clients: int, malicious: int) -> str | None:
        still = not (self.scale and self.share) and not self._z(clients, malicious)
        return f"no factor but 0 for {malicious} of {clients} clients: the mean is sent" if still else None

    def _z(self, clients: int, malicious: int) -> float:
        return largest_z(clients, malicious) if self.z is None else self.z

    def _kept(self, mean: Tensor, context: CraftContext) -> Tensor:
        """Return the positions (k,) of the weights to attack aggressively."""
        if "kept" not in context.memory:
            worth = context.model.abs() * (mean.abs() if self.mask == "saliency" else 1)
            context.memory["kept"] = worth.topk(round(self.share * len(worth))).indices
        return context.memory["kept"]

"""MPAF: fake clients that pull the model to a useless base model."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.training.parameters import split


@dataclass(frozen=True, kw_only=True)
class Mpaf(Attack):
    """Send the difference from the global model to a base model with random weights, times a large factor.

    Cao, Gong, "MPAF: Model Poisoning Attacks to Federated Learning based on Fake Clients", CVPR Workshops
    2022. All fake clients use the same base model in every round. The attack does not use own updates, so
    the clients need no data.
    """

    factor: float = 1e6
    base: Literal["random", "initial"] = "random"
    """`random` samples normal weights once, with the scale of each tensor in the initial model. `initial` is
    the initial model, as in PoisonedFL's init attack."""

    card = AttackCard(
        paper="Cao & Gong, CVPR Workshops 2022",
        knowledge=Knowledge.COLLUDING,
        idle_when="factor is 0 (then no step is sent)",
    )
    search_space = SearchSpace(
        parameters={"factor": Range(low=1.0, high=1e6, log=True), "base": ("random", "initial")}
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        base = context.memory.get("base")
        if base is None:
            base = context.memory["base"] = self._base(context)
        return (self.factor * (base - context.model).to(own.dtype)).expand_as(own).clone()

    def _base(self, context: CraftContext) -> Tensor:
        initial = context.model if context.initial_model is None else context.initial_model
        if self.base == "initial":
            return initial.clone()
        drawn = torch.randn(initial.shape, generator=context.generator, dtype=initial.dtype)
        base = drawn.to(initial.device)
        for part, weights in zip(_tensors(base, context), _tensors(initial, context), strict=True):
            part.mul_(weights.std(correction=0))
        return base


def _tensors(vector: Tensor, context: CraftContext) -> list[Tensor]:
    return split(vector, context.layout) if context.layout else [vector]

"""MPAF: fake clients that drag the model to a place of no use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.training.parameters import split


@dataclass(frozen=True, kw_only=True)
class Mpaf(Attack):
    """Send the way from the global model to a base model with random weights, times a large factor.

    Cao, Gong, "MPAF: Model Poisoning Attacks to Federated Learning based on Fake Clients", CVPR Workshops
    2022. All fakes pull to the same base in every round. Own updates are not used: the clients may be
    fakes without data.
    """

    factor: float = 1e6
    base: Literal["random", "initial"] = "random"
    """`random` draws normal weights once, with each tensor's own scale in the initial model; `initial` is
    that model itself, PoisonedFL's init attack."""

    card: ClassVar = AttackCard(
        paper="Cao & Gong, CVPR Workshops 2022",
        knowledge=Knowledge.COLLUDING,
        idle_when="factor is 0: no step is sent",
    )
    search_space: ClassVar = SearchSpace(
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

"""PoisonedFL: push in one direction, round after round, knowing only the global models."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.bounds import OpenShare, PositiveCount, PositiveShare
from clients.kernels import euclidean_norm, unit_vector


@dataclass(frozen=True, kw_only=True)
class PoisonedFl(Attack):
    """Send an update whose signs never change, shaped and sized like the steps of the global model.

    Xie, Fang, Gong, "Model Poisoning Attacks to Federated Learning via Multi-Round Consistency", CVPR 2025.
    With g the last global step and s signs drawn once, all malicious clients send
    factor * |g| * (v * s) / |v|, where v_j is what of |g_j| the last malicious update, scaled to the length
    of g, does not explain. Every `period` rounds the factor shrinks if the model did not move along s in
    significantly more than half of the coordinates, because that means that the server filters it. Own
    updates are not used: the clients may be fakes without data. The first round sends no step.
    """

    factor: float = 8.0
    shrink: PositiveShare = 0.7
    floor: float = 0.5
    """The factor is not shrunk to below this."""
    period: PositiveCount = 50
    """Rounds between tests."""
    confidence: OpenShare = 0.99
    """Of the test that the model moves along s."""

    card: ClassVar = AttackCard(
        paper="Xie et al., CVPR 2025",
        knowledge=Knowledge.COLLUDING,
        deviations="The authors' code tabulates the quantile of the test for its four models; here it is the "
        "normal approximation, which gives the same numbers.",
    )
    search_space: ClassVar = SearchSpace(parameters={"factor": Range(low=1.0, high=20.0, log=True)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        memory, model = context.memory, context.model.to(own.dtype)
        if "signs" not in memory:
            drawn = torch.randint(0, 2, model.shape, generator=context.generator).to(model)
            memory["signs"] = 2 * drawn - 1
            memory["factor"] = torch.tensor(self.factor)
            memory["sent"] = torch.zeros_like(model)
            memory["tested"], memory["tested_model"] = torch.tensor(context.round), model.clone()
        if context.previous_model is None:
            return torch.zeros_like(own)
        if context.round - int(memory["tested"]) >= self.period:
            self._test(context, model)
        step = model - context.previous_model.to(own.dtype)
        norm = euclidean_norm(step)
        shape = (step - norm * unit_vector(memory["sent"])).abs()
        memory["sent"] = float(memory["factor"]) * norm * memory["signs"] * unit_vector(shape)
        return memory["sent"].expand_as(own).clone()

    def _test(self, context: CraftContext, model: Tensor) -> None:
        memory, d = context.memory, len(model)
        moved = (model - memory["tested_model"]).sign()
        along = int((moved == memory["signs"]).sum())
        significant = round(d / 2 + NormalDist().inv_cdf(self.confidence) * sqrt(d) / 2)
        if along < significant and memory["factor"] * self.shrink >= self.floor:
            memory["factor"] = memory["factor"] * self.shrink
        memory["tested"], memory["tested_model"] = torch.tensor(context.round), model.clone()

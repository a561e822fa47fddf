"""PoisonedFL: updates in one fixed direction, computed only from the global models."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.bounds import OpenShare, PositiveCount, PositiveShare
from clients.kernels import euclidean_norm, unit_vector


@dataclass(frozen=True, kw_only=True)
class PoisonedFl(Attack):
    """Send an update with fixed signs, in the shape and size of the global model's steps.

    Xie, Fang, Gong, "Model Poisoning Attacks to Federated Learning via Multi-Round Consistency", CVPR 2025.
    With the last global step g and random signs s, sampled once, all malicious clients send
    factor * |g| * (v * s) / |v|. v_j is the absolute difference between g_j and the last malicious update,
    scaled to the length of g. Every `period` rounds the attack tests whether the model moved along s in
    significantly more than half of the coordinates. If not, the server filters the updates, and the factor
    shrinks. The attack does not use own updates, so the clients need no data. The first round sends no step.
    """

    factor: float = 8.0
    shrink: PositiveShare = 0.7
    floor: float = 0.5
    """Lower bound of the factor."""
    period: PositiveCount = 50
    """Number of rounds between tests."""
    confidence: OpenShare = 0.99
    """Confidence of the test that the model moves along s."""

    card = AttackCard(
        paper="Xie et al., CVPR 2025",
        knowledge=Knowledge.COLLUDING,
        deviations="The authors' code tabulates the quantile of the test for its four models; here the "
        "normal approximation results in the same numbers.",
    )
    search_space = SearchSpace(parameters={"factor": Range(low=1.0, high=20.0, log=True)})

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

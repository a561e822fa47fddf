"""Constrain and scale: a backdoored model that stays near the global one, and is then scaled up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from clients.attacks.base import AttackCard, ClientContext, CraftContext, Range, boosted
from clients.attacks.data.backdoor import Square, square_space
from clients.bounds import Positive, PositiveShare
from clients.training.samples import Samples
from clients.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class ConstrainAndScale(Square):
    """Minimise alpha L_task + (1 - alpha) L_anomaly on clean and triggered samples, then scale the update.

    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, "How To Backdoor Federated Learning", AISTATS 2020.
    """

    alpha: PositiveShare = 0.5
    """Weight of the task; 1 trains without a constraint."""
    anomaly: Literal["distance", "cosine"] = "distance"
    """What the defender is thought to look at: |w - w_t|, or 1 - cos(w, w_t)."""
    factor: Positive | None = None
    """Of the scaling; None is n / f, the clients of the round over the attackers among them."""

    card: ClassVar = AttackCard(
        paper="Bagdasaryan et al., AISTATS 2020",
        goal="have images with the trigger taken for `target`, and leave the rest alone",
        idle_when="share is 0",
        deviations="The authors lower the rate and stop once the backdoor works; here the attacker trains "
        "as long as an honest client.",
    )
    search_space: ClassVar = square_space(alpha=Range(low=0.1, high=1.0), anomaly=("distance", "cosine"))

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            weights = torch.cat([parameter.reshape(-1) for parameter in model.parameters()])
            task = cross_entropy(model(images), labels)
            return self.alpha * task + (1 - self.alpha) * self._anomaly(weights, context.model)

        return trainer.fit(samples, context.generator, memory=context.memory, loss=loss)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return boosted(own, self.factor, context)

    def _anomaly(self, weights: Tensor, start: Tensor) -> Tensor:
        if self.anomaly == "cosine":
            return 1 - cosine_similarity(weights, start, dim=0)
        distance: Tensor = torch.linalg.vector_norm(weights - start)
        return distance

"""Scaled backdoors: model replacement, and constrain and scale, which also stays near the global model."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from clients.attacks.base import AttackCard, ClientContext, CraftContext, Range
from clients.attacks.data.backdoor import BACKDOOR_GOAL, Square, square_space
from clients.bounds import Positive, PositiveShare
from clients.training import Samples, Trainer, trainable


@dataclass(frozen=True, kw_only=True)
class ModelReplacement(Square):
    """Train a backdoored model and scale its update so that the average becomes that model.

    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, "How To Backdoor Federated Learning", AISTATS 2020. The
    update is gamma (x - w), with gamma = n / eta for a single attacker. Near convergence, honest updates
    cancel, and the average is the attackers' mean model.
    """

    factor: Positive | None = None
    """gamma. Default: n / f, the clients per malicious client in the round, for clients of equal weight."""

    card = AttackCard(
        paper="Bagdasaryan et al., AISTATS 2020",
        goal=BACKDOOR_GOAL,
        idle_when="share is 0, or factor is 1 without one",
        deviations="With n / f the average is the backdoored model only if all clients have equal weights. "
        "FLPoison scales by 50, BackFed by 25, the authors of DBA by 100, FedML by n.",
    )
    search_space = square_space(factor=Range(low=0.5, high=30.0, log=True))

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return _boosted(own, self.factor, context)


@dataclass(frozen=True, kw_only=True)
class ConstrainAndScale(Square):
    """Minimise alpha L_task + (1 - alpha) L_anomaly on clean and triggered samples, then scale the update.

    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, "How To Backdoor Federated Learning", AISTATS 2020.
    """

    alpha: PositiveShare = 0.5
    """Weight of the task loss. 1 trains without a constraint."""
    anomaly: Literal["distance", "cosine"] = "distance"
    """Anomaly measure that the defender is assumed to use: |w - w_t|, or 1 - cos(w, w_t)."""
    factor: Positive | None = None
    """Factor of the update. Default: n / f, the clients per malicious client in the round."""

    card = AttackCard(
        paper="Bagdasaryan et al., AISTATS 2020",
        goal=BACKDOOR_GOAL,
        idle_when="share is 0",
        deviations="The authors lower the learning rate and stop once the backdoor works; here the attacker "
        "trains as long as an honest client.",
    )
    search_space = square_space(alpha=Range(low=0.1, high=1.0), anomaly=("distance", "cosine"))

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            weights = torch.cat([parameter.reshape(-1) for parameter in trainable(model).values()])
            task = cross_entropy(model(images), labels)
            return self.alpha * task + (1 - self.alpha) * self._anomaly(weights, context.model)

        return trainer.fit(samples, context.generator, memory=context.memory, loss=loss)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return _boosted(own, self.factor, context)

    def _anomaly(self, weights: Tensor, start: Tensor) -> Tensor:
        if self.anomaly == "cosine":
            return 1 - cosine_similarity(weights, start, dim=0)
        distance: Tensor = torch.linalg.vector_norm(weights - start)
        return distance


def _boosted(own: Tensor, factor: float | None, context: CraftContext) -> Tensor:
    """Multiply the updates `own` (m, d) by `factor`. Default: n / f.

    With n / f the unweighted mean over n clients moves by the mean of the f malicious updates. Bagdasaryan
    et al., AISTATS 2020, assume one attacker, and use n / eta with a server's learning rate eta.
    """
    return (context.clients / context.malicious if factor is None else factor) * own

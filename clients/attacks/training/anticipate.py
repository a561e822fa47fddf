"""Anticipate: a backdoor trained to survive future honest rounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from clients.attacks.base import AttackCard, ClientContext
from clients.attacks.data.backdoor import DURABLE_GOAL, Square, square_space
from clients.bounds import Count, Positive, PositiveCount
from clients.training import Samples, Trainer


@dataclass(frozen=True, kw_only=True)
class Anticipate(Square):
    """Minimise the loss on triggered samples before and after simulated, differentiable honest steps.

    Wen, Geiping, Fowl, Souri, Chellappa, Goldblum, Goldstein, "Thinking Two Moves Ahead: Anticipating
    Other Users Improves Backdoor Attacks in Federated Learning", 2022. The objective is
    the mean loss at w_0, ..., w_k. w_0 are the attacker's weights. The other clients' training is estimated
    by w_(i+1) = w_i - lr * gradient of the loss on a clean batch at w_i.
    """

    moves: Count = 2
    """k, the number of anticipated honest steps. 0 is a plain backdoor."""
    pace: Positive = 1.0
    """Learning rate of an anticipated step, relative to local training."""
    every: PositiveCount = 6
    """Steps per step with anticipation, which is in the middle of these steps. Anticipation of two moves
    costs as much as eleven plain steps. 1 is the paper's."""

    card = AttackCard(
        paper="Wen et al., 2022",
        goal=DURABLE_GOAL,
        idle_when="share is 0, or all samples are poisoned; a plain backdoor if moves is 0, or with fewer "
        "local steps than half of every",
        deviations="An honest round is anticipated as one mini-batch on the attacker's clean samples, from "
        "its own weights. The paper anticipates in every step.",
    )
    search_space = square_space(every=(1, 2, 6))

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        clean, poisoned = samples.split_poisoned()
        if not len(clean) or not len(poisoned):
            return super().train(trainer, samples, context)
        names = [name for name, _ in context.layout]
        steps = 0

        def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            nonlocal steps
            steps += 1
            moves = self.moves if (steps + self.every // 2) % self.every == 0 else 0
            ahead = []
            for _ in range(moves):
                drawn = torch.randint(len(clean), (len(images),), generator=context.generator)
                ahead.append(clean[drawn])
            weights = dict(zip(names, trainer.parameters, strict=True))
            rate = self.pace * trainer.training.lr
            return anticipated(model, weights, images, labels, ahead=ahead, rate=rate)

        return trainer.fit(samples, context.generator, memory=context.memory, loss=loss)


def anticipated(
    model: nn.Module,
    weights: dict[str, Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    ahead: Sequence[Samples],
    rate: float,
) -> Tensor:
    """Compute the mean loss of `model` on (images, labels) before and after each anticipated honest step.

    Args:
        model: the model.
        weights: its parameters by name. The result is differentiable in them, through the honest steps.
        images: images, (m, c, h, w).
        labels: labels, (m,).
        ahead: clean batch of each honest step.
        rate: learning rate of the honest steps.
    """
    total = cross_entropy(functional_call(model, weights, (images,)), labels)
    for clean in ahead:
        honest = cross_entropy(functional_call(model, weights, (clean.images,)), clean.labels)
        gradients = torch.autograd.grad(honest, list(weights.values()), create_graph=True)
        weights = {
            name: weight - rate * gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        total = total + cross_entropy(functional_call(model, weights, (images,)), labels)
    return total / (1 + len(ahead))

"""Anticipate: a backdoor that is trained to survive the honest rounds to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from clients.attacks.base import AttackCard, ClientContext
from clients.attacks.data.backdoor import Square, square_space
from clients.bounds import Count, Positive, PositiveCount
from clients.training.samples import Samples
from clients.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Anticipate(Square):
    """Minimise the loss on triggered samples now and after honest steps, simulated and differentiated.

    Wen, Geiping, Fowl, Souri, Chellappa, Goldblum, Goldstein, "Thinking Two Moves Ahead: Anticipating
    Other Users Improves Backdoor Attacks in Federated Learning", 2022. The mean of the loss at
    w_0, ..., w_k, where w_0 are the own weights and w_(i+1) = w_i - lr * gradient of the loss on a clean
    batch at w_i, the attacker's idea of what the others will do.
    """

    moves: Count = 2
    """k, how many honest steps are anticipated; 0 is a plain backdoor."""
    pace: Positive = 1.0
    """Rate of an anticipated step, relative to that of local training."""
    every: PositiveCount = 6
    """Look ahead in every so many-th step only, from the middle of the first so many on: a look at two moves
    costs eleven plain steps. 1 is the paper's."""

    card: ClassVar = AttackCard(
        paper="Wen et al., 2022",
        goal="have images with the trigger taken for `target`, for long after the attack has ended",
        idle_when="share is 0, or all samples are poisoned; with moves 0, or fewer local steps than half of "
        "every, it is a plain backdoor",
        deviations="An honest round is anticipated as one mini-batch on the attacker's clean samples, from "
        "its own weights on, as if they became the global ones. The paper anticipates in every step.",
    )
    search_space: ClassVar = square_space(every=(1, 2, 6))

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
    """Return the mean loss of `model` on (images, labels) now and after each honest step to come.

    Args:
        model: what the weights are of.
        weights: named parameters; the result is differentiable in them, through the honest steps.
        images: (m, c, h, w).
        labels: (m,).
        ahead: the clean batch of each honest step.
        rate: of the honest steps.
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

"""Projected gradient descent on the weights: a backdoor that does not go far."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import AttackCard, ClientContext, Range
from clients.attacks.data.backdoor import BACKDOOR_GOAL, Square, square_space
from clients.bounds import Positive, PositiveCount
from clients.training import Samples, Trainer, split


@dataclass(frozen=True, kw_only=True)
class Pgd(Square):
    """Train on triggered samples and project the weights to a ball around the global ones.

    Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019; Wang et al.,
    "Attack of the Tails: Yes, You Really Can Backdoor Federated Learning", NeurIPS 2020.
    """

    radius: Positive = 0.5
    """Radius of the ball."""
    norm: Literal["l2", "linf"] = "l2"
    every: PositiveCount = 1
    """Steps per projection. The last step is always projected."""

    card = AttackCard(
        paper="Sun et al., 2019; Wang et al., NeurIPS 2020",
        goal=BACKDOOR_GOAL,
        idle_when="share is 0; a plain backdoor if no honest client leaves the radius",
        deviations="Radii depend on the model: BackFed has 10, FLPoison 0.25. Both papers also scale the "
        "projected update: compose with scaled-update.",
    )
    search_space = square_space(radius=Range(low=0.05, high=5.0, log=True))

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        start = split(context.model, context.layout)
        steps = 0

        def on_step(parameters: list[Tensor]) -> None:
            nonlocal steps
            steps += 1
            if steps % self.every == 0:
                self._project(parameters, start)

        loss = trainer.fit(samples, context.generator, memory=context.memory, on_step=on_step)
        self._project(trainer.parameters, start)
        return loss

    @torch.no_grad()
    def _project(self, parameters: list[Tensor], start: list[Tensor]) -> None:
        """Project the parameters to the ball around `start`."""
        moves = [parameter - origin for parameter, origin in zip(parameters, start, strict=True)]
        if self.norm == "l2":
            distance = torch.stack([move.norm() for move in moves]).norm()
            moves = [move * (self.radius / distance).clamp(max=1) for move in moves]
        else:
            moves = [move.clamp(-self.radius, self.radius) for move in moves]
        for parameter, origin, move in zip(parameters, start, moves, strict=True):
            parameter.copy_(origin + move)

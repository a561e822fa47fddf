"""Neurotoxin: a backdoor in coordinates that honest clients rarely move."""

from dataclasses import dataclass

import torch
from torch import Tensor

from clients.attacks.base import AttackCard, AttackSetting, ClientContext, Range
from clients.attacks.data.backdoor import DURABLE_GOAL, Square, square_space
from clients.bounds import ShareBelowOne
from clients.training import Samples, Trainer, split


@dataclass(frozen=True, kw_only=True)
class Neurotoxin(Square):
    """Train on triggered samples, but not on the coordinates that the last global update moved most.

    Zhang, Panda, Song, Yang, Mahoney, Mittal, Gonzalez, Ramchandran, "Neurotoxin: Durable Backdoors in
    Federated Learning", ICML 2022.

    Raises:
        ValueError: A parameter is outside its bounds, or `top` leaves no coordinate of the model.
    """

    top: ShareBelowOne = 0.05
    """Share of the coordinates, the largest in magnitude, whose gradient is set to 0."""

    card = AttackCard(
        paper="Zhang et al., ICML 2022",
        goal=DURABLE_GOAL,
        idle_when="share is 0; a plain backdoor if top is 0, and in the first round, without an update",
        deviations="The coordinates are ranked over the whole model. BackFed masks 1 %, FLPoison 10 % and by "
        "signed values. Weight decay still moves masked coordinates. "
        "On `digits` the attack did not outlast a plain backdoor: see the threat model.",
    )
    search_space = square_space(top=Range(low=0.01, high=0.5, log=True))

    def check(self, setting: AttackSetting) -> None:
        super().check(setting)
        d = sum(shape.numel() for _, shape in setting.layout)
        if masked_count(self.top, d) == d:
            raise ValueError(
                f"top: got {self.top}, which leaves none of {d} coordinates to train; choose a smaller "
                "share, such as 0.05."
            )

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        if context.previous_model is None:
            return super().train(trainer, samples, context)
        kept = split(unmoved_mask(context.model - context.previous_model, self.top), context.layout)

        def on_gradient(gradients: list[Tensor]) -> None:
            torch._foreach_mul_(gradients, kept)

        return trainer.fit(samples, context.generator, memory=context.memory, on_gradient=on_gradient)


def unmoved_mask(update: Tensor, top: float) -> Tensor:
    """Compute a mask (d,), 0 for the share `top` of `update` (d,) largest in magnitude, else 1.

    >>> unmoved_mask(torch.tensor([1.0, -5.0, 2.0, 0.0]), 0.25)
    tensor([1., 0., 1., 1.])
    """
    kept = torch.ones_like(update)
    kept[update.abs().topk(masked_count(top, len(update))).indices] = 0
    return kept


def masked_count(top: float, d: int) -> int:
    """Return the number of the d coordinates whose gradient is set to 0."""
    return round(top * d)

"""Free-riding: participation without training, disguised by noise."""

from dataclasses import dataclass
from math import inf
from math import pow as power
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext
from clients.bounds import NonNegative
from clients.kernels import normals


@dataclass(frozen=True, kw_only=True)
class FreeRider(Attack):
    """Send no step, or the last global step, with noise that decreases like the steps of training.

    Fraboni, Vidal, Lorenzi, "Free-rider Attacks on Model Aggregation in Federated Learning", AISTATS 2021.
    The noise of round t is normal with standard deviation noise * sigma / t^decay, with the
    sigma of the first global step that the client observes. Before that, the client sends no step.
    """

    base: Literal["zero", "last"] = "zero"
    """`zero` sends the unchanged global model. `last` repeats the global step of the previous round, as the
    delta weights attack of Lin, Du, Liu, 2019, and FedML's lazy worker do."""
    noise: NonNegative = 1.0
    """Multiple of sigma. 0 is the plain free-rider."""
    decay: NonNegative = 1.0
    """Exponent of the decrease of the noise over rounds."""

    card = AttackCard(
        paper="Fraboni et al., AISTATS 2021",
        goal="take part without work",
        deviations="FedML resends the last model, with fixed noise: base=last.",
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        if context.previous_model is None:
            return torch.zeros_like(own)
        last = (context.model - context.previous_model).to(own.dtype)
        sigma = context.memory.setdefault("sigma", last.std(correction=0))
        std = float(sigma) * self.noise / decay_divisor(context.round, self.decay)
        return normals(own, context.generator).mul_(std).add_(last if self.base == "last" else 0)


def decay_divisor(server_round: int, decay: float) -> float:
    """Return the round to the power `decay`, or infinity beyond the largest number.

    >>> decay_divisor(3, 2.0), decay_divisor(2, 1e30)
    (9.0, inf)
    """
    try:
        return power(server_round, decay)
    except OverflowError:
        return inf

"""CRFL: clip and perturb the global model itself, so that its robustness can be certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.clip_factors import clip_factors
from strategies.combination import combine
from strategies.distances import row_norms
from strategies.knobs import not_negative, positive
from strategies.noise import gaussian, stream_of
from strategies.rule import Aggregate, Card, Context, checked


@dataclass(frozen=True, kw_only=True)
class CRFL:
    """Average the updates, cut the new global model to the norm rho_t, and add Gaussian noise to it.

    Xie, Chen, Chen, Li, "CRFL: Certifiably Robust Federated Learning against Backdoor Attacks", ICML 2021.
    In round t, rho_t = `rho` + `growth` t. What comes out is the new global model minus the old one; without
    a model in the context the old one is taken to be 0. The trust of a client is its share times what the
    cut left. The certificate, from smoothing the trained model with the same noise, is not part of the rule.
    """

    rho: float = 2.0
    growth: float = 0.1
    """The paper's on MNIST, as `rho`."""
    noise: float = 0.01
    """Standard deviation of what is added to each weight."""

    card: ClassVar = Card(
        paper="Xie et al., ICML 2021",
        needs=("model", "randomness"),
        deviations="Perturbs in every round; the paper leaves the last one to the smoothing. FLPoison: "
        "rho 3, no growth, noise .001.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        positive(rho=self.rho)
        not_negative(growth=self.growth, noise=self.noise)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, shares = checked(self, updates, weights)
        context = context or Context()
        mean = combine(shares, updates)
        old = torch.zeros_like(mean) if context.model is None else context.model.to(mean)
        new = old + mean
        norm = row_norms(new[None, :])
        factor = clip_factors(norm, self.rho + self.growth * context.round)
        update = new * factor.to(new) + gaussian(new, self.noise, stream_of(context)) - old
        return Aggregate(update=update, trust=shares * factor)

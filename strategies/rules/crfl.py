"""CRFL: clip and perturb the global model, so that its robustness can be certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.client_memory import gaussian, round_generator
from strategies.kernels.distances import row_norms
from strategies.kernels.weighted_sums import clip_factors, combine
from strategies.parameters import limit, require_non_negative


@dataclass(frozen=True, kw_only=True)
class CRFL(Rule):
    """Average the updates, clip the new global model to the norm rho_t, and add Gaussian noise to it.

    Xie, Chen, Chen, Li, "CRFL: Certifiably Robust Federated Learning against Backdoor Attacks", ICML 2021.
    In round t, rho_t = `rho` + `growth` t. The result is the new global model minus the old model. Without a
    model in the context, the old model is 0. The trust of a client is its share, multiplied by the factor
    that clips the model. The certificate of the paper smooths the trained model with the same noise and is
    not part of this rule.
    """

    rho: float = 2.0
    """Largest norm of the global model before the first round. The default is the paper's for MNIST."""
    growth: float = 0.1
    """Growth of the largest norm per round. The default is the paper's for MNIST."""
    noise: float = 0.01
    """Standard deviation of the noise that is added to each weight."""

    search_space: ClassVar = {"rho": (2.0, 5.0, 15.0), "noise": (0.001, 0.01)}
    card: ClassVar = RuleCard(
        paper="Xie et al., ICML 2021",
        needs=("model", "randomness"),
        deviations="Perturbs in every round; the paper leaves the last one to the smoothing. FLPoison: "
        "rho 3, no growth, noise .001.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
        uses_weights=True,
    )

    def __post_init__(self) -> None:
        limit(rho=self.rho)
        require_non_negative(growth=self.growth, noise=self.noise)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        mean = combine(shares, updates)
        old = torch.zeros_like(mean) if context.model is None else context.model.to(mean)
        new = old + mean
        norm = row_norms(new[None, :])
        factor = clip_factors(norm, self.rho + self.growth * context.round)
        update = new * factor.to(new) + gaussian(new, self.noise, round_generator(context)) - old
        return Aggregate(update=update, trust=shares * factor)

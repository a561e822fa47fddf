"""Norm clipping, and norm clipping with noise (weak differential privacy)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, finite_norms
from strategies.kernels.client_memory import gaussian, round_generator
from strategies.kernels.weighted_sums import clip_factors, weighted
from strategies.parameters import limit, positive, require_non_negative


@dataclass(frozen=True, kw_only=True)
class NormClipping(Rule):
    """Clip every update to the norm `clip` and average, weighted by the clients' numbers of examples.

    Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019. The trust of a client
    is its share, multiplied by the factor that clips its update.

    >>> import torch
    >>> NormClipping(clip=1.0)(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).update
    tensor([0.3000, 0.4000])
    """

    clip: float = 3.0
    """Largest norm of an update."""

    search_space: ClassVar = {"clip": (0.1, 0.3, 1.0, 3.0, 10.0)}
    card: ClassVar = RuleCard(
        paper="Sun et al., 2019",
        deviations="The paper tries several bounds; FLPoison's is 3, ByzFL's 2, FedML's 5.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
        rotation_equivariant=True,
        uses_weights=True,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        limit(clip=self.clip)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        return clipped_mean(updates, shares, self.clip)


@dataclass(frozen=True, kw_only=True)
class WeakDP(Rule):
    """Clip every update to the norm `clip`, average, and add Gaussian noise to every coordinate.

    Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019. The noise covers the
    rest of a backdoor. The noise is far too small for a useful privacy guarantee, so the name is "weak".
    """

    clip: float = 3.0
    """Largest norm of an update."""
    noise: float = 0.025
    """Standard deviation of the noise that is added to each coordinate of the averaged update."""

    search_space: ClassVar = {"clip": (0.3, 1.0, 3.0), "noise": (0.0025, 0.025)}
    card: ClassVar = RuleCard(
        paper="Sun et al., 2019",
        needs=("randomness",),
        deviations="BackFed uses the same noise and clips at 5; FLPoison adds .002.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
        uses_weights=True,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(clip=self.clip)
        require_non_negative(noise=self.noise)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        result = clipped_mean(updates, shares, self.clip)
        result.update.add_(gaussian(result.update, self.noise, round_generator(context)))
        return result


def clipped_mean(updates: Tensor, shares: Tensor, bound: float) -> Aggregate:
    """Average the updates, weighted by `shares` (n,), after clipping each to the norm `bound`."""
    return weighted(shares * clip_factors(finite_norms(updates), bound), updates)

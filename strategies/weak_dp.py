"""Weak differential privacy: norm clipping, and a little noise to drown what is left of a backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.checked_norms import checked_norms
from strategies.clip_factors import clip_factors
from strategies.combination import combine
from strategies.knobs import not_negative, positive
from strategies.noise import gaussian, stream_of
from strategies.rule import Aggregate, Card, Context


@dataclass(frozen=True, kw_only=True)
class WeakDP:
    """Cut every update to the norm `clip`, average, and add Gaussian noise to every coordinate.

    Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019. The noise is far
    too small for a useful privacy guarantee, hence weak.
    """

    clip: float = 3.0
    noise: float = 0.025
    """Standard deviation of what is added to each coordinate of the averaged update."""

    card: ClassVar = Card(
        paper="Sun et al., 2019",
        needs=("randomness",),
        deviations="BackFed has the same noise and cuts at 5; FLPoison adds .002.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        positive(clip=self.clip)
        not_negative(noise=self.noise)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        shares, norms = checked_norms(self, updates, weights)
        coefficients = shares * clip_factors(norms, self.clip)
        update = combine(coefficients, updates)
        update += gaussian(update, self.noise, stream_of(context))
        return Aggregate(update=update, trust=coefficients)

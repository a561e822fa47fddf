"""Centered clipping: stay near where the last round ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.clip_factors import clip_factors
from strategies.combination import combine
from strategies.distances import gram, norms_around, row_norms
from strategies.knobs import positive
from strategies.rule import Aggregate, Card, Context, checked

CENTRE = "centre"


@dataclass(frozen=True, kw_only=True)
class CenteredClipping:
    """Move the last round's result towards the updates, of which each pulls no harder than `tau`.

    Karimireddy, He, Jaggi, "Learning from History for Byzantine Robust Optimization", ICML 2021:
    v <- v + mean of (g_i - v) min(1, tau / |g_i - v|), repeated `iterations` times, from the v of the round
    before or, in the first round, from 0. What the clients do not pull stays with v: the trust sums to less
    than 1.

    >>> import torch
    >>> CenteredClipping(tau=1.0)(torch.tensor([[0.5], [0.5], [90.0]])).update
    tensor([0.6667])
    """

    tau: float = 10.0
    iterations: int = 1

    card: ClassVar = Card(
        paper="Karimireddy et al., ICML 2021",
        needs=("history",),
        cost="O(n d), with more than one iteration O(n^2 d)",
        deviations="The authors try tau from .1 to 1000 with 1, 3 and 5 iterations. ByzFL and FLPoison: 100 "
        "and 1; Blades: 5 and 5. FedML clips around a random client's update.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        positive(tau=self.tau, iterations=self.iterations)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        centre = None if context is None else context.state.get(CENTRE)
        centre = torch.zeros_like(updates[0]) if centre is None else centre.to(updates)
        pulls = self._pulls(updates, centre)
        update = combine(pulls, updates) + (1 - pulls.sum()).to(centre) * centre
        return Aggregate(update=update, trust=pulls, state={CENTRE: update.clone()})

    def _pulls(self, updates: Tensor, centre: Tensor) -> Tensor:
        """Return the coefficients (n,) of the updates in the result; the rest to 1 is the centre's."""
        n = len(updates)
        if self.iterations == 1:
            return clip_factors(row_norms(updates, origin=centre), self.tau) / n
        products = gram(updates, origin=centre)
        pulls = torch.zeros(n, dtype=torch.float64, device=updates.device)
        for _ in range(self.iterations):
            factors = clip_factors(norms_around(products, pulls), self.tau) / n
            pulls = pulls * (1 - factors.sum()) + factors
        return pulls

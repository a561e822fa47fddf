"""Centered clipping: clip the updates around the result of the last round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.distances import gram, norms_around, row_norms
from strategies.kernels.weighted_sums import clip_factors, combine
from strategies.parameters import limit, positive

CENTRE = "centre"


@dataclass(frozen=True, kw_only=True)
class CenteredClipping(Rule):
    """Move the last round's result towards the updates, each clipped to the distance `tau` from it.

    Karimireddy, He, Jaggi, "Learning from History for Byzantine Robust Optimization", ICML 2021:
    v <- v + mean of (g_i - v) min(1, tau / |g_i - v|), repeated `iterations` times, from the v of the round
    before or, in the first round, from 0. The coefficient of v and the trust of the clients sum to 1, so the
    trust may sum to less than 1.

    >>> import torch
    >>> CenteredClipping(tau=1.0)(torch.tensor([[0.5], [0.5], [90.0]])).update
    tensor([0.6667])
    """

    tau: float = 10.0
    """Largest distance of a clipped update from the centre."""
    iterations: int = 1
    """Number of times that the centre moves per round."""

    search_space: ClassVar = {"tau": (0.1, 0.3, 1.0, 3.0, 10.0), "iterations": (1, 3)}
    card: ClassVar = RuleCard(
        paper="Karimireddy et al., ICML 2021",
        needs=("history",),
        cost="O(n d), with more than one iteration O(n^2 d)",
        deviations="The authors try tau from .1 to 1000 with 1, 3 and 5 iterations. ByzFL and FLPoison: 100 "
        "and 1; Blades: 5 and 5. FedML clips around a random client's update.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )

    def __post_init__(self) -> None:
        limit(tau=self.tau)
        positive(iterations=self.iterations)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        centre = context.state.get(CENTRE, torch.zeros_like(updates[0])).to(updates)
        pulls = self._pulls(updates, centre)
        update = combine(pulls, updates) + (1 - pulls.sum()).to(centre) * centre
        return Aggregate(update=update, trust=pulls, state={CENTRE: update.clone()})

    def _pulls(self, updates: Tensor, centre: Tensor) -> Tensor:
        """Return the coefficients (n,) of the updates in the result. The rest to 1 is the centre's."""
        n = len(updates)
        if self.iterations == 1:
            return clip_factors(row_norms(updates, origin=centre), self.tau) / n
        # The centre of every iteration is a combination of the updates and the first centre. Inner products
        # give all its distances, so the matrix is read once for any number of iterations.
        products = gram(updates, origin=centre)
        pulls = torch.zeros(n, dtype=torch.float64, device=updates.device)
        for _ in range(self.iterations):
            factors = clip_factors(norms_around(products, pulls), self.tau) / n
            pulls = pulls * (1 - factors.sum()) + factors
        return pulls

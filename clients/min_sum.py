"""Min-sum: as far from all honest updates together as one of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.inner_products import squared_norms
from clients.moments import mean_of
from clients.perturbation import Direction, perturbation


@dataclass(frozen=True, kw_only=True)
class MinSum(Attack):
    """Perturb the honest mean until its squared distances to the honest updates sum up to one of theirs.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning", NDSS 2021: the largest gamma with
    sum_i |mean + gamma p - g_i|^2 <= max_i sum_j |g_i - g_j|^2. The paper approaches it by halving steps.
    Around the mean both sums split into the honest spread, which cancels, and one square: gamma p is as
    long as the farthest honest update is from the mean.
    """

    direction: Direction = "std"
    bound: Literal["max", "min"] = "max"
    """The honest update that sets the bound: `max` is the paper's, `min` the authors' code's."""

    card: ClassVar = Card(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="a single update is visible: it is sent",
        deviations="The authors' code and FL-Byzantine-Library bound by the smallest sum, FLPoison by the "
        "largest, as here: see `bound`.",
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = mean_of(visible)
        direction = perturbation(visible, mean, self.direction)
        squares = squared_norms(visible, origin=mean)
        square = squares.max() if self.bound == "max" else squares.min()
        length = squared_norms(direction[None])
        gamma = float((square / length).sqrt()) if length > 0 else 0.0
        return (mean + gamma * direction).expand_as(own).clone()

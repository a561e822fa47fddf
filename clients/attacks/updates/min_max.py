"""Min-max and min-sum: perturb the honest mean by as much as the spread of the honest updates hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, SearchSpace
from clients.kernels import column_mean, column_std, inner_products, products_with, squared_norms, unit_vector
from strategies.kernels.distances import distances_from_gram

Direction = Literal["unit", "std", "std-above", "sign"]
"""Minus the unit vector of the mean, minus or plus the standard deviation, or minus the sign of the mean."""
DIRECTIONS = ("unit", "std", "std-above", "sign")


def perturbation(rows: Tensor, mean: Tensor, direction: Direction) -> Tensor:
    """Return the perturbation (d,) of the `mean` (d,) of `rows` (n, d); 0 where there is no direction.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning", NDSS 2021. The paper perturbs gradients; for `unit` and `sign` that is the same
    on updates. The standard deviation has no sign of its own: what lies below the mean of the gradients lies
    above that of the updates, so that `std-above` repeats runs that aggregate gradients.
    """
    if direction in ("std", "std-above"):
        return column_std(rows, mean) * (1 if direction == "std-above" else -1)
    if direction == "sign":
        return -mean.sign()
    return unit_vector(-mean)


@dataclass(frozen=True, kw_only=True)
class MinMax(Attack):
    """Perturb the honest mean until the farthest honest update is as far as any two of them are apart.

    Shejwalkar, Houmansadr, NDSS 2021: the largest gamma with
    max_i |mean + gamma p - g_i| <= max_ij |g_i - g_j|. The paper approaches it by halving steps. Each honest
    update sets a quadratic bound on gamma, so that the smallest of their roots is the answer, exactly.
    """

    direction: Direction = "std"

    card: ClassVar = AttackCard(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="a single update is visible: it is sent",
        deviations="Public searches start at gamma 10 or 50 and cannot pass twice that; Blades stops at 5. "
        "The direction is std in the authors' notebooks, unit in Plato.",
    )
    search_space: ClassVar = SearchSpace(parameters={"direction": DIRECTIONS})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = column_mean(visible)
        direction = perturbation(visible, mean, self.direction)
        products = inner_products(visible, origin=mean)
        widest = distances_from_gram(products).max()
        along = products_with(visible, direction, origin=mean)
        length = squared_norms(direction[None])
        room = (length * (widest - products.diagonal())).clamp(min=0)
        gammas = (along + (along.square() + room).sqrt()) / length
        gamma = float(gammas.min()) if length > 0 else 0.0
        return (mean + gamma * direction).expand_as(own).clone()


@dataclass(frozen=True, kw_only=True)
class MinSum(Attack):
    """Perturb the honest mean until its squared distances to the honest updates sum up to one of theirs.

    Shejwalkar, Houmansadr, NDSS 2021: the largest gamma with
    sum_i |mean + gamma p - g_i|^2 <= max_i sum_j |g_i - g_j|^2. The paper approaches it by halving steps.
    Around the mean both sums split into the honest spread, which cancels, and one square: gamma p is as
    long as the farthest honest update is from the mean.
    """

    direction: Direction = "std"
    bound: Literal["max", "min"] = "max"
    """The honest update that sets the bound: `max` is the paper's, `min` the authors' code's."""

    card: ClassVar = AttackCard(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="a single update is visible: it is sent",
        deviations="The authors' code and FL-Byzantine-Library bound by the smallest sum, FLPoison by the "
        "largest, as here: see `bound`.",
    )
    search_space: ClassVar = SearchSpace(parameters={"direction": DIRECTIONS, "bound": ("max", "min")})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = column_mean(visible)
        direction = perturbation(visible, mean, self.direction)
        squares = squared_norms(visible, origin=mean)
        square = squares.max() if self.bound == "max" else squares.min()
        length = squared_norms(direction[None])
        gamma = float((square / length).sqrt()) if length > 0 else 0.0
        return (mean + gamma * direction).expand_as(own).clone()

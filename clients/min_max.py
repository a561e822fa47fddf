"""Min-max: as far from the mean as the two most distant honest updates are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.inner_products import inner_products, products_with, squared_distances, squared_norms
from clients.moments import mean_of
from clients.perturbation import Direction, perturbation


@dataclass(frozen=True, kw_only=True)
class MinMax(Attack):
    """Perturb the honest mean until the farthest honest update is as far as any two of them are apart.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning", NDSS 2021: the largest gamma with max_i |mean + gamma p - g_i| <= max_ij |g_i - g_j|.
    The paper approaches it by halving steps. Each honest update sets a quadratic bound on gamma, so that
    the smallest of their roots is the answer, exactly.
    """

    direction: Direction = "std"

    card: ClassVar = Card(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="a single update is visible: it is sent",
        deviations="Public searches start at gamma 10 or 50 and cannot pass twice that; Blades stops at 5. "
        "The direction is std in the authors' notebooks, unit in Plato.",
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = mean_of(visible)
        direction = perturbation(visible, mean, self.direction)
        products = inner_products(visible, origin=mean)
        widest = squared_distances(products).max()
        along = products_with(visible, direction, origin=mean)
        length = squared_norms(direction[None])
        room = (length * (widest - products.diagonal())).clamp(min=0)
        gammas = (along + (along.square() + room).sqrt()) / length
        gamma = float(gammas.min()) if length > 0 else 0.0
        return (mean + gamma * direction).expand_as(own).clone()

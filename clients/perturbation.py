"""The directions in which an attack leaves the mean of the honest updates."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from clients.inner_products import unit
from clients.moments import spread_of

Direction = Literal["unit", "std", "sign"]
"""Minus the unit vector of the mean, minus the standard deviation, or minus the sign of the mean."""


def perturbation(rows: Tensor, mean: Tensor, direction: Direction) -> Tensor:
    """Return the perturbation (d,) of the `mean` (d,) of `rows` (n, d); 0 where there is no direction.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning", NDSS 2021. The paper perturbs gradients; for `unit` and `sign` that is the same
    on updates. The standard deviation has no sign of its own: what lies below the mean of the gradients lies
    above that of the updates.
    """
    if direction == "std":
        return -spread_of(rows, mean)
    if direction == "sign":
        return -mean.sign()
    return unit(-mean)

"""The directions in which an attack leaves the mean of the honest updates."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from clients.inner_products import unit
from clients.moments import spread_of

Direction = Literal["unit", "std", "std-above", "sign"]
"""Minus the unit vector of the mean, minus or plus the standard deviation, or minus the sign of the mean."""


def perturbation(rows: Tensor, mean: Tensor, direction: Direction) -> Tensor:
    """Return the perturbation (d,) of the `mean` (d,) of `rows` (n, d); 0 where there is no direction.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning", NDSS 2021. The paper perturbs gradients; for `unit` and `sign` that is the same
    on updates. The standard deviation has no sign of its own: what lies below the mean of the gradients lies
    above that of the updates, so that `std-above` repeats runs that aggregate gradients.
    """
    if direction in ("std", "std-above"):
        return spread_of(rows, mean) * (1 if direction == "std-above" else -1)
    if direction == "sign":
        return -mean.sign()
    return unit(-mean)

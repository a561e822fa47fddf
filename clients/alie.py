"""A little is enough: hide in the spread of the honest updates."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Literal

from torch import Tensor

from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.moments import mean_of, spread_of


@dataclass(frozen=True, kw_only=True)
class Alie(Attack):
    """Send the mean of the visible updates moved by z standard deviations in every coordinate.

    Baruch, Baruch, Goldberg, "A Little Is Enough: Circumventing Defenses For Distributed Learning",
    NeurIPS 2019. All malicious clients send the same vector, mean - z * std.
    """

    z: float | None = None
    """How many standard deviations; None is the paper's largest z that a majority may support."""
    direction: Literal[-1, 1] = -1
    """-1 is the authors' (mean - z std), 1 is ByzFL's and FLPoison's. The deviation has no sign of its own:
    where they aggregate gradients, which point away from updates, the other one repeats their runs."""
    correction: Literal[0, 1] = 0
    """Delta degrees of freedom of the standard deviation: 0 is the authors', 1 is ByzFL's."""

    card: ClassVar = Card(
        paper="Baruch et al., NeurIPS 2019",
        knowledge=Knowledge.COLLUDING,
        idle_when="z = 0: the paper's formula gives 0 for small fleets, n = 10 with f = 2 among them",
        deviations="Sign and standard deviation differ between libraries: see `direction`, `correction`.",
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        z = largest_z(context.clients, context.malicious) if self.z is None else self.z
        mean = mean_of(visible)
        sent = mean + self.direction * z * spread_of(visible, mean, correction=self.correction)
        return sent.expand_as(own).clone()

    def idle(self, clients: int, malicious: int) -> str | None:
        z = largest_z(clients, malicious) if self.z is None else self.z
        return f"z = 0 for {malicious} of {clients} clients: the mean is sent" if z == 0 else None


def largest_z(clients: int, malicious: int) -> float:
    """Return the z below which enough honest updates lie for a malicious majority, at least 0.

    With s = floor(n / 2 + 1) - f honest supporters needed, z solves Phi(z) = (n - f - s) / (n - f).

    >>> round(largest_z(50, 10), 4), largest_z(10, 2)
    (0.2533, 0.0)
    """
    honest = clients - malicious
    supporters = clients // 2 + 1 - malicious
    share = (honest - supporters) / honest if honest else 0.0
    return max(0.0, NormalDist().inv_cdf(share)) if 0 < share < 1 else 0.0

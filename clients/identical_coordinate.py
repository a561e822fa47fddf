"""The hidden vulnerability: one coordinate, pushed as far as the rule bears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.inner_products import length, squared_norms
from clients.line_search import check_search, coarse_then_fine
from clients.probe import Probe


@dataclass(frozen=True, kw_only=True)
class IdenticalCoordinate(Attack):
    """Send the honest mean with one coordinate pushed by the amount that moves the aggregate furthest.

    El Mhamdi, Guerraoui, Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium", ICML 2018.
    A rule that compares distances accepts an error of their size, of order sqrt(d), in a single coordinate.

    Raises:
        ValueError: the server's rule is not known, or there is no such coordinate.
    """

    coordinate: int | None = -1
    """Which one, negative from the end; None pushes all coordinates alike."""
    sign: Literal[-1, 1] = 1
    reach: float = 2.0
    """The first push tried, in multiples of the largest distance of an honest update from the mean."""
    evaluations: int = 20
    """How often the rule is tried in a round; ByzantineMomentum's default is 16."""
    probe_coordinates: int = 32_768
    """On how many coordinates, drawn anew each round, a rule is tried that treats each by itself, such as the
    median; what is sent has all of them. Other rules are always tried on all."""

    card: ClassVar = Card(
        paper="El Mhamdi et al., ICML 2018",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        goal="drive one weight off",
        deviations="ByzantineMomentum (`bulyan`) searches from 0 in steps of 1; here the first push has the "
        "scale of the honest updates.",
    )

    def __post_init__(self) -> None:
        check_search(self.evaluations, self.probe_coordinates)
        if self.reach <= 0:
            raise ValueError(f"reach: got {self.reach}, wanted more than 0.")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        direction = self._direction(own[0])
        probe = Probe(own, seen, context)
        distance = float(squared_norms(probe.honest, origin=probe.mean).max().sqrt())
        gamma = coarse_then_fine(
            probe.along(direction, coordinates=self.probe_coordinates),
            largest=self.reach * distance / length(direction),
            evaluations=self.evaluations,
        )
        return (probe.mean + gamma * direction).expand_as(own).clone()

    def _direction(self, like: Tensor) -> Tensor:
        d = len(like)
        if self.coordinate is None:
            return torch.full_like(like, self.sign)
        if not -d <= self.coordinate < d:
            raise ValueError(f"coordinate: got {self.coordinate}, wanted one of {d}, -{d} to {d - 1}.")
        direction = torch.zeros_like(like)
        direction[self.coordinate] = self.sign
        return direction

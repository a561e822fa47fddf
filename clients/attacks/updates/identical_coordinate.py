"""The hidden vulnerability: one coordinate, pushed as far as the rule bears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, SearchSpace
from clients.attacks.updates.rule_search import Evaluations, Probe, coarse_then_fine
from clients.bounds import Positive, PositiveCount
from clients.kernels import euclidean_norm, squared_norms


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
    reach: Positive = 2.0
    """The first push tried, in multiples of the largest distance of an honest update from the mean."""
    evaluations: Evaluations = 20
    """How often the rule is tried per round; ByzantineMomentum's default is 16."""
    probe_coordinates: PositiveCount = 32_768
    """On how many coordinates, sampled per round, a coordinate-wise rule such as the median is tried. The
    attack sends all coordinates, and tries all other rules on all of them."""

    card: ClassVar = AttackCard(
        paper="El Mhamdi et al., ICML 2018",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        goal="drive one weight off",
        deviations="ByzantineMomentum (`bulyan`) searches from 0 in steps of 1; here the first push has the "
        "scale of the honest updates.",
    )
    search_space: ClassVar = SearchSpace(parameters={"sign": (-1, 1)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        direction = self._direction(own[0])
        probe = Probe(own, seen, context)
        distance = float(squared_norms(probe.honest, origin=probe.mean).max().sqrt())
        gamma = coarse_then_fine(
            probe.along(direction, coordinates=self.probe_coordinates),
            largest=self.reach * distance / euclidean_norm(direction),
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

"""The hidden vulnerability: the largest error in one coordinate that the rule accepts."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, AttackSetting, CraftContext, Knowledge, SearchSpace
from clients.attacks.updates.rule_search import Evaluations, Probe, coarse_then_fine
from clients.bounds import Positive, PositiveCount
from clients.kernels import euclidean_norm, squared_norms


@dataclass(frozen=True, kw_only=True)
class IdenticalCoordinate(Attack):
    """Send the honest mean with the shift of one coordinate that moves the aggregate furthest.

    El Mhamdi, Guerraoui, Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium", ICML 2018.
    A rule that compares distances accepts an error of the order sqrt(d) in a single coordinate.

    Raises:
        ValueError: The context contains no rule.
        IndexError: The coordinate does not exist. `check` finds that before a run.
    """

    coordinate: int | None = -1
    """Shifted coordinate, negative from the end. None shifts all coordinates equally."""
    sign: Literal[-1, 1] = 1
    reach: Positive = 2.0
    """First shift, in multiples of the largest distance of an honest update from the mean."""
    evaluations: Evaluations = 20
    """Number of trials of the rule per round. ByzantineMomentum's default is 16."""
    probe_coordinates: PositiveCount = 32_768
    """Number of coordinates, sampled per round, for trials of a coordinate-wise rule. All are sent."""

    card = AttackCard(
        paper="El Mhamdi et al., ICML 2018",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        goal="move one weight far from its honest value",
        deviations="ByzantineMomentum (`bulyan`) searches from 0 in steps of 1; here the first shift has "
        "the scale of the honest updates.",
    )
    search_space = SearchSpace(parameters={"sign": (-1, 1)})

    def check(self, setting: AttackSetting) -> None:
        d = sum(shape.numel() for _, shape in setting.layout)
        if self.coordinate is not None and not -d <= self.coordinate < d:
            raise ValueError(f"coordinate: got {self.coordinate}, expected one of {d}, -{d} to {d - 1}.")

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
        if self.coordinate is None:
            return torch.full_like(like, self.sign)
        direction = torch.zeros_like(like)
        direction[self.coordinate] = self.sign
        return direction

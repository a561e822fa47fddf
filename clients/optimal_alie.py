"""A little is enough, with the factor that the server's rule bears worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.line_search import check_search, expand_then_contract
from clients.moments import spread_of
from clients.probe import Probe


@dataclass(frozen=True, kw_only=True)
class OptimalAlie(Attack):
    """Leave the honest mean by the multiple of the standard deviation that moves the aggregate furthest.

    Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A Recipe for Optimal Byzantine
    ML under Heterogeneity", AISTATS 2023; without the search Baruch, Baruch, Goldberg, NeurIPS 2019.

    Raises:
        ValueError: the server's rule is not known.
    """

    evaluations: int = 20
    """How often the rule is tried in a round."""
    step: float = 10.0
    """The first step of the search, which begins at 0."""
    direction: Literal[-1, 1] = -1
    """-1 goes below the mean, as `alie` does; 1 is ByzFL's. The deviation has no sign of its own: where they
    aggregate gradients, which point away from updates, the other one repeats their runs."""
    correction: Literal[0, 1] = 0
    """Delta degrees of freedom of the standard deviation; 1 is ByzFL's."""
    probe_coordinates: int = 32_768
    """On how many coordinates, drawn anew each round, a rule is tried that treats each by itself, such as the
    median; what is sent has all of them. Other rules are always tried on all."""

    card: ClassVar = Card(
        paper="Allouah et al., AISTATS 2023",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The search is ByzFL's, which only ever looks upwards of the best factor so far.",
    )

    def __post_init__(self) -> None:
        check_search(self.evaluations, self.probe_coordinates)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        probe = Probe(own, seen, context)
        spread = self.direction * spread_of(probe.honest, probe.mean, correction=self.correction)
        tau = expand_then_contract(
            probe.along(spread, coordinates=self.probe_coordinates),
            step=self.step,
            evaluations=self.evaluations,
        )
        return (probe.mean + tau * spread).expand_as(own).clone()

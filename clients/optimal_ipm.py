"""Inner-product manipulation with the factor that the server's rule bears worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.line_search import check_search, expand_then_contract
from clients.probe import Probe


@dataclass(frozen=True, kw_only=True)
class OptimalIpm(Attack):
    """Send minus tau times the honest mean, with the tau that moves the aggregate furthest from that mean.

    Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A Recipe for Optimal Byzantine
    ML under Heterogeneity", AISTATS 2023; without the search Xie, Koyejo, Gupta, UAI 2019.

    Raises:
        ValueError: the server's rule is not known.
    """

    evaluations: int = 20
    """How often the rule is tried in a round."""
    step: float = 10.0
    """The first step of the search, which begins at 0."""
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
        tau = expand_then_contract(
            probe.along(-probe.mean, start=0.0, coordinates=self.probe_coordinates),
            step=self.step,
            evaluations=self.evaluations,
        )
        return (-tau * probe.mean).expand_as(own).clone()

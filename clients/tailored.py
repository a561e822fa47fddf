"""The attack that is tailored to the server's rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attack import Attack, Card, CraftContext, Knowledge
from clients.line_search import check_search, coarse_then_fine
from clients.perturbation import Direction, perturbation
from clients.probe import Probe


@dataclass(frozen=True, kw_only=True)
class Tailored(Attack):
    """Send the honest mean perturbed by as much as moves the aggregate of the server's rule furthest.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning", NDSS 2021: maximise |rule(updates) - mean| over gamma, all malicious clients sending
    mean + gamma * perturbation. The paper solves it rule by rule; here the rule itself is tried, so that it
    works on any.

    Raises:
        ValueError: the server's rule is not known.
    """

    direction: Direction = "std"
    start: float = 10.0
    """The paper's first gamma; the search covers `start` / 2^(evaluations / 2 - 1) to twice `start`."""
    evaluations: int = 20
    """How often the rule is tried in a round."""
    probe_coordinates: int = 32_768
    """On how many coordinates, drawn anew each round, a rule is tried that treats each by itself, such as the
    median; what is sent has all of them. Other rules are always tried on all."""

    card: ClassVar = Card(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The authors' code asks whether multi-Krum and Bulyan select all malicious updates, and "
        "measures the displacement for the other rules; here it is the displacement for all of them.",
    )

    def __post_init__(self) -> None:
        check_search(self.evaluations, self.probe_coordinates)
        if self.start <= 0:
            raise ValueError(f"start: got {self.start}, wanted more than 0.")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        probe = Probe(own, seen, context)
        direction = perturbation(probe.honest, probe.mean, self.direction)
        gamma = coarse_then_fine(
            probe.along(direction, coordinates=self.probe_coordinates),
            largest=self.start,
            evaluations=self.evaluations,
        )
        return (probe.mean + gamma * direction).expand_as(own).clone()

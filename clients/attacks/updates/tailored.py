"""The attack that is tailored to the server's rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, SearchSpace
from clients.attacks.updates.min_max import DIRECTIONS, Direction, perturbation
from clients.attacks.updates.rule_search import Evaluations, Probe, coarse_then_fine
from clients.bounds import Positive, PositiveCount


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
    start: Positive = 10.0
    """The paper's first gamma; the search covers `start` / 2^(evaluations / 2 - 1) to twice `start`."""
    evaluations: Evaluations = 20
    """How often the rule is tried per round."""
    probe_coordinates: PositiveCount = 32_768
    """On how many coordinates, sampled per round, a coordinate-wise rule such as the median is tried. The
    attack sends all coordinates, and tries all other rules on all of them."""

    card: ClassVar = AttackCard(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The authors' code asks whether multi-Krum and Bulyan select all malicious updates, and "
        "measures the displacement for the other rules; here it is the displacement for all of them.",
    )
    search_space: ClassVar = SearchSpace(parameters={"direction": DIRECTIONS})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        probe = Probe(own, seen, context)
        direction = perturbation(probe.honest, probe.mean, self.direction)
        gamma = coarse_then_fine(
            probe.along(direction, coordinates=self.probe_coordinates),
            largest=self.start,
            evaluations=self.evaluations,
        )
        return (probe.mean + gamma * direction).expand_as(own).clone()

"""An attack tailored to the server's rule."""

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
    """Send the honest mean with the perturbation that moves the aggregate of the server's rule furthest.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning", NDSS 2021. All malicious clients send mean + gamma * perturbation, with the gamma
    that maximises |rule(updates) - mean|. The paper has one solution per rule. Here the attack tries updates
    on the rule, so it works on every rule.

    Raises:
        ValueError: The context contains no rule.
    """

    direction: Direction = "std"
    start: Positive = 10.0
    """The paper's first gamma. The search covers `start` / 2^(evaluations / 2 - 1) to twice `start`."""
    evaluations: Evaluations = 20
    """Number of trials of the rule per round."""
    probe_coordinates: PositiveCount = 32_768
    """Number of coordinates, sampled per round, for trials of a coordinate-wise rule. All are sent."""

    card: ClassVar = AttackCard(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The authors' code tests whether multi-Krum and Bulyan select all malicious updates, and "
        "measures the displacement for other rules; here the displacement is the measure for all rules.",
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

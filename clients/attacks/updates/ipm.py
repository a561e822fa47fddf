"""Inner-product manipulation: aggregates with a negative inner product with the honest mean."""

from dataclasses import dataclass

from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.attacks.updates.rule_search import Evaluations, Probe, expand_then_contract
from clients.bounds import Positive, PositiveCount
from clients.kernels import column_mean


@dataclass(frozen=True, kw_only=True)
class Ipm(Attack):
    """Send minus epsilon times the mean of the honest updates.

    Xie, Koyejo, Gupta, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation",
    UAI 2019.

    >>> import torch
    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(1))
    >>> Ipm(epsilon=0.5).craft(torch.tensor([[9.0]]), torch.tensor([[1.0], [3.0]]), context)
    tensor([[-1.]])
    """

    epsilon: float = 0.1
    """Factor. Rules that select accept small values. Values above (n - f) / f reverse the mean."""

    card = AttackCard(
        paper="Xie et al., UAI 2019",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="epsilon is -1 (then the honest mean is sent)",
        deviations="Public defaults of epsilon run from 0.1 to 10.",
    )
    search_space = SearchSpace(parameters={"epsilon": Range(low=0.05, high=20.0, log=True)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        return (-self.epsilon * column_mean(visible)).expand_as(own).clone()

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "epsilon is -1: the honest mean is sent" if self.epsilon == -1 else None


@dataclass(frozen=True, kw_only=True)
class OptimalIpm(Attack):
    """Send minus tau times the honest mean, with the tau that moves the aggregate furthest from that mean.

    Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A Recipe for Optimal Byzantine
    ML under Heterogeneity", AISTATS 2023. Without the search: Xie, Koyejo, Gupta, UAI 2019.

    Raises:
        ValueError: The context contains no rule.
    """

    evaluations: Evaluations = 20
    """Number of trials of the rule per round."""
    step: Positive = 10.0
    """First step of the search, which starts at 0."""
    probe_coordinates: PositiveCount = 32_768
    """Number of coordinates, sampled per round, for trials of a coordinate-wise rule. All are sent."""

    card = AttackCard(
        paper="Allouah et al., AISTATS 2023",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The search is ByzFL's, which only tries factors above the best one.",
    )
    search_space = SearchSpace()

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        probe = Probe(own, seen, context)
        damage = probe.along(-probe.mean, start=0.0, coordinates=self.probe_coordinates)
        tau = expand_then_contract(damage, step=self.step, evaluations=self.evaluations)
        return (-tau * probe.mean).expand_as(own).clone()

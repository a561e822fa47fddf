"""A little is enough, with variants: attacks within the spread of the honest updates."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.attacks.updates.rule_search import Evaluations, Probe, expand_then_contract
from clients.bounds import Positive, PositiveCount, Share
from clients.kernels import column_mean, column_std


@dataclass(frozen=True, kw_only=True)
class Alie(Attack):
    """Send the mean of the visible updates, shifted by z standard deviations in every coordinate.

    Baruch, Baruch, Goldberg, "A Little Is Enough: Circumventing Defenses For Distributed Learning",
    NeurIPS 2019. All malicious clients send the same vector, mean - z * std.
    """

    z: float | None = None
    """Number of standard deviations. Default: the paper's largest z that a majority may support."""
    direction: Literal[-1, 1] = -1
    """-1 is the authors' (mean - z std), 1 is ByzFL's and FLPoison's. The standard deviation has no sign.
    For runs that aggregate gradients, which point away from updates, use the opposite direction."""
    correction: Literal[0, 1] = 0
    """Delta degrees of freedom of the standard deviation: 0 is the authors', 1 is ByzFL's."""

    card = AttackCard(
        paper="Baruch et al., NeurIPS 2019",
        knowledge=Knowledge.COLLUDING,
        idle_when="z = 0: the paper's formula gives 0 for few clients, such as n = 10 with f = 2",
        deviations="Sign and standard deviation differ between libraries: see `direction`, `correction`.",
    )
    search_space = SearchSpace(parameters={"z": Range(low=0.1, high=5.0), "direction": (-1, 1)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        z = z_of(self.z, context.clients, context.malicious)
        mean = column_mean(visible)
        sent = mean + self.direction * z * column_std(visible, mean, correction=self.correction)
        return sent.expand_as(own).clone()

    def no_effect(self, clients: int, malicious: int) -> str | None:
        still = z_of(self.z, clients, malicious) == 0
        return f"z = 0 for {malicious} of {clients} clients: the mean is sent" if still else None


def z_of(z: float | None, clients: int, malicious: int) -> float:
    """Return `z`, or by default the z below which enough honest updates are for a malicious majority.

    With s = floor(n / 2 + 1) - f required honest supporters, z solves Phi(z) = (n - f - s) / (n - f). z is
    at least 0.

    >>> round(z_of(None, 50, 10), 4), z_of(None, 10, 2), z_of(1.5, 10, 2)
    (0.2533, 0.0, 1.5)
    """
    if z is not None:
        return z
    honest = clients - malicious
    supporters = clients // 2 + 1 - malicious
    share = (honest - supporters) / honest if honest else 0.0
    return max(0.0, NormalDist().inv_cdf(share)) if 0 < share < 1 else 0.0


@dataclass(frozen=True, kw_only=True)
class OptimalAlie(Attack):
    """Shift the honest mean by the multiple of the standard deviation that moves the aggregate furthest.

    Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A Recipe for Optimal Byzantine
    ML under Heterogeneity", AISTATS 2023. Without the search: Baruch, Baruch, Goldberg, NeurIPS 2019.

    Raises:
        ValueError: The context contains no rule.
    """

    evaluations: Evaluations = 20
    """Number of trials of the rule per round."""
    step: Positive = 10.0
    """First step of the search, which starts at 0."""
    direction: Literal[-1, 1] = -1
    """As in `alie`. -1 is below the mean, 1 is ByzFL's."""
    correction: Literal[0, 1] = 0
    """As in `alie`. Delta degrees of freedom of the standard deviation, 1 is ByzFL's."""
    probe_coordinates: PositiveCount = 32_768
    """Number of coordinates, sampled per round, for trials of a coordinate-wise rule. All are sent."""

    card = AttackCard(
        paper="Allouah et al., AISTATS 2023",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The search is ByzFL's, which only tries factors above the best one.",
    )
    search_space = SearchSpace(parameters={"direction": (-1, 1)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        probe = Probe(own, seen, context)
        spread = self.direction * column_std(probe.honest, probe.mean, correction=self.correction)
        damage = probe.along(spread, coordinates=self.probe_coordinates)
        tau = expand_then_contract(damage, step=self.step, evaluations=self.evaluations)
        return (probe.mean + tau * spread).expand_as(own).clone()


@dataclass(frozen=True, kw_only=True)
class SparseAlie(Attack):
    """Shift the honest mean by `scale` standard deviations on few weights, and by alie's z on all others.

    Ozfatura, Ozfatura, Buyukates, Coskuner, Kupcu, Gunduz, "Aggressive or Imperceptible, or Both: Network
    Pruning Assisted Hybrid Byzantines in Federated Learning", 2024. The attack
    selects the few in the first round, like a pruner. These weights have the largest |weight * honest mean|,
    the loss caused by their removal.
    """

    share: Share = 0.005
    """Share of the weights with the factor `scale`."""
    scale: float = 1.5
    z: float | None = None
    """Factor of the other weights. Default: the largest z that a majority may support, as in `alie`."""
    mask: Literal["saliency", "magnitude"] = "saliency"
    """Importance of a weight. `magnitude` is its absolute value."""
    direction: Literal[-1, 1] = -1
    """As in `alie`: the standard deviation has no sign."""

    card = AttackCard(
        paper="Ozfatura et al., 2024",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="scale and z are 0",
        deviations="FL-Byzantine-Library offers several pruners, by default the iterative FORCE on training "
        "data; the saliency here is a single step of FORCE on the honest updates.",
    )
    search_space = SearchSpace(
        parameters={
            "share": Range(low=0.001, high=0.2, log=True),
            "scale": Range(low=0.5, high=5.0),
            "direction": (-1, 1),
        }
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = column_mean(visible)
        factors = torch.full_like(mean, z_of(self.z, context.clients, context.malicious))
        factors[self._kept(mean, context)] = self.scale
        sent = mean + self.direction * factors * column_std(visible, mean)
        return sent.expand_as(own).clone()

    def no_effect(self, clients: int, malicious: int) -> str | None:
        still = not (self.scale and self.share) and not z_of(self.z, clients, malicious)
        return f"all factors are 0 for {malicious} of {clients} clients: the mean is sent" if still else None

    def _kept(self, mean: Tensor, context: CraftContext) -> Tensor:
        """Return the positions (k,) of the weights with the factor `scale`."""
        if "kept" not in context.memory:
            worth = context.model.abs() * (mean.abs() if self.mask == "saliency" else 1)
            context.memory["kept"] = worth.topk(round(self.share * len(worth))).indices
        return context.memory["kept"]

"""A little is enough: hide in the spread of the honest updates; with its variants."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.attacks.updates.rule_search import Evaluations, Probe, expand_then_contract
from clients.bounds import PositiveCount, Share
from clients.kernels import column_mean, column_std


@dataclass(frozen=True, kw_only=True)
class Alie(Attack):
    """Send the mean of the visible updates moved by z standard deviations in every coordinate.

    Baruch, Baruch, Goldberg, "A Little Is Enough: Circumventing Defenses For Distributed Learning",
    NeurIPS 2019. All malicious clients send the same vector, mean - z * std.
    """

    z: float | None = None
    """How many standard deviations; None is the paper's largest z that a majority may support."""
    direction: Literal[-1, 1] = -1
    """-1 is the authors' (mean - z std), 1 is ByzFL's and FLPoison's. The deviation has no sign of its own:
    where they aggregate gradients, which point away from updates, the other one repeats their runs."""
    correction: Literal[0, 1] = 0
    """Delta degrees of freedom of the standard deviation: 0 is the authors', 1 is ByzFL's."""

    card: ClassVar = AttackCard(
        paper="Baruch et al., NeurIPS 2019",
        knowledge=Knowledge.COLLUDING,
        idle_when="z = 0: the paper's formula gives 0 for small fleets, n = 10 with f = 2 among them",
        deviations="Sign and standard deviation differ between libraries: see `direction`, `correction`.",
    )
    search_space: ClassVar = SearchSpace(parameters={"z": Range(low=0.1, high=5.0), "direction": (-1, 1)})

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
    """Return `z`, or for None the z below which enough honest updates lie for a malicious majority.

    With s = floor(n / 2 + 1) - f honest supporters needed, z solves Phi(z) = (n - f - s) / (n - f). It is at
    least 0.

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
    """Leave the honest mean by the multiple of the standard deviation that moves the aggregate furthest.

    Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A Recipe for Optimal Byzantine
    ML under Heterogeneity", AISTATS 2023; without the search Baruch, Baruch, Goldberg, NeurIPS 2019.

    Raises:
        ValueError: the server's rule is not known.
    """

    evaluations: Evaluations = 20
    """How often the rule is tried per round."""
    step: float = 10.0
    """The first step of the search, which begins at 0."""
    direction: Literal[-1, 1] = -1
    """As in `alie`: -1 goes below the mean, 1 is ByzFL's."""
    correction: Literal[0, 1] = 0
    """As in `alie`: delta degrees of freedom of the standard deviation; 1 is ByzFL's."""
    probe_coordinates: PositiveCount = 32_768
    """On how many coordinates, sampled per round, a coordinate-wise rule such as the median is tried. The
    attack sends all coordinates, and tries all other rules on all of them."""

    card: ClassVar = AttackCard(
        paper="Allouah et al., AISTATS 2023",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The search is ByzFL's, which only ever looks upwards of the best factor so far.",
    )
    search_space: ClassVar = SearchSpace(parameters={"direction": (-1, 1)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        probe = Probe(own, seen, context)
        spread = self.direction * column_std(probe.honest, probe.mean, correction=self.correction)
        damage = probe.along(spread, coordinates=self.probe_coordinates)
        tau = expand_then_contract(damage, step=self.step, evaluations=self.evaluations)
        return (probe.mean + tau * spread).expand_as(own).clone()


@dataclass(frozen=True, kw_only=True)
class SparseAlie(Attack):
    """Leave the honest mean by `scale` standard deviations on few weights, and by alie's z on all others.

    Ozfatura, Ozfatura, Buyukates, Coskuner, Kupcu, Gunduz, "Aggressive or Imperceptible, or Both: Network
    Pruning Assisted Hybrid Byzantines in Federated Learning", 2024. The few are those that a pruner would
    keep, chosen in the first round and kept: the largest |weight * honest mean|, the loss that removing a
    weight would cost.
    """

    share: Share = 0.005
    """Of the weights, those that are attacked aggressively."""
    scale: float = 1.5
    z: float | None = None
    """The factor elsewhere; None is the largest z that a majority may support, as in `alie`."""
    mask: Literal["saliency", "magnitude"] = "saliency"
    """What makes a weight matter; `magnitude` is its absolute value alone."""
    direction: Literal[-1, 1] = -1
    """As in `alie`: the standard deviation has no sign of its own."""

    card: ClassVar = AttackCard(
        paper="Ozfatura et al., 2024",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="scale and z are 0",
        deviations="FL-Byzantine-Library offers several pruners, by default the iterative FORCE on training "
        "data; the saliency here is a single step of it, read off the honest updates.",
    )
    search_space: ClassVar = SearchSpace(
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
        return f"no factor but 0 for {malicious} of {clients} clients: the mean is sent" if still else None

    def _kept(self, mean: Tensor, context: CraftContext) -> Tensor:
        """Return the positions (k,) of the weights to attack aggressively."""
        if "kept" not in context.memory:
            worth = context.model.abs() * (mean.abs() if self.mask == "saliency" else 1)
            context.memory["kept"] = worth.topk(round(self.share * len(worth))).indices
        return context.memory["kept"]

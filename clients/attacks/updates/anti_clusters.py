"""Attacks on rules that cluster the updates by signs or angles."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.bounds import Positive
from clients.kernels import (
    column_mean,
    euclidean_norm,
    products_with,
    squared_norms,
    uniforms,
    unit_vector,
)
from strategies.kernels.distances import lengths_and_cosines


@dataclass(frozen=True, kw_only=True)
class AntiSignGuard(Attack):
    """Send noise with as many positive, negative and zero coordinates as the mean of the visible updates.

    Li, Ngai, Ye, Ernst, Voigt, "Blades: A Unified Benchmark Suite for Byzantine Attacks and Defenses in
    Federated Learning", IoTDI 2024. SignGuard compares only the numbers of signs, which do not depend on
    the order of the coordinates. All malicious clients send the same vector.
    """

    length: Positive | None = None
    """Norm of the vector. Default: the median norm of the visible updates, which passes a bound on norms."""

    card = AttackCard(
        paper="Li et al., IoTDI 2024",
        knowledge=Knowledge.OMNISCIENT,
        deviations="Blades does not scale the uniform numbers, so that a bound on norms rejects them.",
    )
    search_space = SearchSpace(parameters={"length": Range(low=0.03, high=30.0, log=True)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        signs = column_mean(visible).sign()
        order = torch.randperm(len(signs), generator=context.generator)
        noise = uniforms(own[:1], context.generator)[0] * signs[order.to(signs.device)]
        lengths = squared_norms(visible).sqrt().sort().values
        length = float(lengths[len(lengths) // 2]) if self.length is None else self.length
        return (length * unit_vector(noise)).expand_as(own).clone()


@dataclass(frozen=True, kw_only=True)
class AntiClippedClustering(Attack):
    """Send a chain of vectors that lead from the honest cluster away from its mean.

    Li, Ngai, Ye, Ernst, Voigt, "Blades: A Unified Benchmark Suite for Byzantine Attacks and Defenses in
    Federated Learning", IoTDI 2024. The chain starts at the visible update that is farthest from the mean by
    angle. Each malicious client turns further away from the mean, by a little less than the smallest angle
    between two visible updates, so that clustering by nearest neighbours joins the links. After half a
    turn, the rest send the opposite of the mean.
    """

    length: Positive = 10.0
    """Norm of the vectors as a multiple of the norm of the mean."""
    slack: Positive = 0.1
    """Angle in radians by which a link is shorter than the smallest angle between two visible updates."""

    card = AttackCard(
        paper="Li et al., IoTDI 2024",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="the visible updates differ by less than `slack`: then all send the farthest one, scaled",
        deviations="Blades starts the chain in the larger of two clusters, and sends vectors of norm 10 that "
        "grow from link to link.",
    )
    search_space = SearchSpace(parameters={"length": Range(low=0.3, high=30.0, log=True)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = column_mean(visible)
        _, cosines = lengths_and_cosines(torch.cat([visible, mean[None]]))
        towards = cosines[:-1, -1]
        start = int(towards.argmin())
        nearest = float(cosines[:-1, :-1].fill_diagonal_(-1).max())
        link = max(0.0, math.acos(nearest) - self.slack)
        size = self.length * euclidean_norm(mean)
        axis = unit_vector(mean)
        farthest = visible[start]
        away = unit_vector(farthest - products_with(farthest[None], axis)[0] * axis)
        first = math.acos(float(towards[start]))
        angles = [min(first + link * (rank + 1), math.pi) for rank in range(len(own))]
        rows = [math.cos(angle) * axis + math.sin(angle) * away for angle in angles]
        return size * torch.stack(rows)

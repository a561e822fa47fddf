"""Fang's attacks: on Krum, and on the trimmed mean and the median."""

from dataclasses import dataclass
from math import inf, sqrt
from typing import Annotated, Literal, Self

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, Range, SearchSpace
from clients.bounds import Bounds, Positive
from clients.kernels import column_mean, column_std, inner_products, products_with, squared_norms, uniforms
from strategies.kernels.distances import distances_from_gram, krum_scores


@dataclass(frozen=True, kw_only=True)
class FangKrum(Attack):
    """Send -lambda times the sign of the expected step, with the largest lambda that Krum picks.

    Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning", USENIX
    Security 2020. lambda starts at the paper's upper bound and is halved until Krum would pick the update.
    All malicious clients send the same update. With full knowledge the expected step is Krum's pick before
    the attack. With partial knowledge the malicious clients' own updates replace the honest ones, and the
    expected step is their mean. The number of crafted copies then grows until Krum picks one.
    """

    knowledge: Literal["full", "partial"] = "full"
    threshold: Positive = 1e-5
    """Smallest lambda. The attack sends it if Krum picks no larger one."""

    card = AttackCard(
        paper="Fang et al., USENIX Security 2020",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The paper spreads the other malicious updates slightly around the first; here they are "
        "equal. FLPoison starts at lambda 1; public code uses the sign of the mean instead of Krum's pick.",
    )
    search_space = SearchSpace()

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        if seen is None or self.knowledge == "partial":
            step = column_mean(own).sign()
            honest = _Honest.from_updates(own, distances_from_gram(inner_products(own, origin=own[0])), step)
            trials = (
                honest.largest_picked(copies, tolerated=copies, threshold=self.threshold)
                for copies in range(1, len(own) + 1)
            )
            found = next((factor for factor in trials if factor is not None), self.threshold)
        else:
            m = len(own)
            tolerated = context.malicious if context.tolerated is None else context.tolerated
            squared = distances_from_gram(inner_products(own, seen, origin=seen[0]))
            pick = int(_scores(squared, tolerated).argmin())
            step = (own[pick] if pick < m else seen[pick - m]).sign()
            honest = _Honest.from_updates(seen, squared[m:, m:], step)
            picked = honest.largest_picked(m, tolerated=tolerated, threshold=self.threshold)
            found = self.threshold if picked is None else picked
        return (-found * step).expand_as(own).clone()


@dataclass(frozen=True, kw_only=True)
class FangTrimmedMean(Attack):
    """Send values just beyond the honest ones, in every coordinate on the side opposite to the expected step.

    Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning", USENIX
    Security 2020. If the mean before the attack is positive, the values are uniform in [low / b, low] for a
    positive smallest honest value `low`, or in [b low, low] for a negative one. Otherwise they are above the
    largest honest value in the same way. With partial knowledge, the mean and the standard deviation of the
    malicious clients' own updates replace the honest ones. The values are then 3 to 4 deviations away.
    """

    knowledge: Literal["full", "partial"] = "full"
    b: Annotated[float, Bounds(at_least=1)] = 2.0
    """Factor beyond the honest values with full knowledge. secure-robust-federated-learning uses 1.5."""

    card = AttackCard(
        paper="Fang et al., USENIX Security 2020",
        knowledge=Knowledge.OMNISCIENT,
        deviations="The paper scales weights by b, this and Blades scale updates. The expected step is the "
        "sign of the mean of all updates, which the paper's rules follow closely.",
    )
    search_space = SearchSpace(parameters={"b": Range(low=1.1, high=10.0, log=True)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        mean = column_mean(own)
        if seen is None or self.knowledge == "partial":
            side = torch.where(mean > 0, -1, 1) * column_std(own, mean)
            near, far = mean + 3 * side, mean + 4 * side
        else:
            rises = len(own) * mean + len(seen) * column_mean(seen) > 0
            low, high = seen.amin(dim=0), seen.amax(dim=0)
            near = torch.where(rises, low, high)
            outwards = torch.where(rises, low < 0, high > 0)
            far = near * torch.where(outwards, self.b, 1 / self.b)
        return uniforms(own, context.generator).mul_(far - near).add_(near)


@dataclass(frozen=True, eq=False)
class _Honest:
    """Distances and products of h honest updates for Krum's scores of -lambda * step."""

    squared: Tensor
    """Squared distances, (h, h)."""
    norms: Tensor
    """Squared lengths, (h,)."""
    along: Tensor
    """Inner products with the step, (h,)."""
    length: float
    """Squared length of the step. It is d if no coordinate is 0."""
    d: int

    @classmethod
    def from_updates(cls, honest: Tensor, squared: Tensor, step: Tensor) -> Self:
        length = float(step.count_nonzero())
        return cls(squared, squared_norms(honest), products_with(honest, step), length, len(step))

    def largest_picked(self, copies: int, *, tolerated: int, threshold: float) -> float | None:
        """Return the lambda with which Krum picks one of `copies` equal updates. None below `threshold`."""
        h = len(self.squared)
        together = torch.zeros(copies + h, copies + h, dtype=torch.float64)
        together[copies:, copies:] = self.squared
        factor = self._upper_bound(copies)
        while threshold < factor < inf:  # updates that are not finite have no bound
            distances = self.norms + 2 * factor * self.along + factor**2 * self.length
            together[:copies, copies:] = distances
            together[copies:, :copies] = distances[:, None]
            scores = _scores(together, tolerated)
            if scores[0] < scores[copies:].min():
                return factor
            factor /= 2
        return None

    def _upper_bound(self, copies: int) -> float:
        """Compute the bound of the paper's Theorem 1. With few clients, counts below 1 become 1."""
        h = len(self.squared)
        nearest = self.squared.sort(dim=1).values[:, 1:][:, : max(h - 2, 1)].sum(dim=1).min()
        within = float(nearest) / max(h - copies - 1, 1)
        return (sqrt(within) + sqrt(float(self.norms.max()))) / sqrt(self.d)


def _scores(squared: Tensor, tolerated: int) -> Tensor:
    """Compute Krum's scores (n,), the sums of squared distances to the n - tolerated - 2 nearest others."""
    n = len(squared)
    return krum_scores(squared, neighbours=min(max(n - tolerated - 2, 1), n - 1))

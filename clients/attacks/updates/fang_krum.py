"""Fang's attack on Krum."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, SearchSpace
from clients.bounds import Positive
from clients.kernels import column_mean, inner_products, products_with, squared_norms
from strategies.kernels.distances import distances_from_gram, krum_scores


@dataclass(frozen=True, kw_only=True)
class FangKrum(Attack):
    """Send -lambda times the sign of the step to be expected, with the largest lambda that Krum picks.

    Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning", USENIX
    Security 2020. lambda starts at the paper's upper bound and is halved until Krum would pick the update;
    all malicious clients send the same one. With full knowledge the step to be expected is Krum's pick
    before the attack. With partial knowledge it is the mean of the malicious clients' own updates, which
    also stand for the honest ones, against one more copy of the crafted update until Krum picks it.
    """

    knowledge: Literal["full", "partial"] = "full"
    threshold: Positive = 1e-5
    """The search ends, and this lambda is sent, where Krum picks nothing that is larger."""

    card: ClassVar = AttackCard(
        paper="Fang et al., USENIX Security 2020",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The paper spreads the other malicious updates slightly around the first; here they are "
        "equal. FLPoison starts at lambda 1; public code takes the sign of the mean in place of Krum's pick.",
    )
    search_space: ClassVar = SearchSpace()

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


@dataclass(frozen=True, eq=False)
class _Honest:
    """What is to be known of h honest updates in order to place -lambda * step among them."""

    squared: Tensor
    """(h, h), squared distances."""
    norms: Tensor
    """(h,), squared lengths."""
    along: Tensor
    """(h,), inner products with the step."""
    length: float
    """Squared length of the step, d where no coordinate is 0."""
    d: int

    @classmethod
    def from_updates(cls, honest: Tensor, squared: Tensor, step: Tensor) -> _Honest:
        length = float(step.count_nonzero())
        return cls(squared, squared_norms(honest), products_with(honest, step), length, len(step))

    def largest_picked(self, copies: int, *, tolerated: int, threshold: float) -> float | None:
        """Return the lambda with which Krum picks one of `copies` equal updates, None below `threshold`."""
        h = len(self.squared)
        together = torch.zeros(copies + h, copies + h, dtype=torch.float64)
        together[copies:, copies:] = self.squared
        factor = self._upper_bound(copies)
        while factor > threshold:
            distances = self.norms + 2 * factor * self.along + factor**2 * self.length
            together[:copies, copies:] = distances
            together[copies:, :copies] = distances[:, None]
            scores = _scores(together, tolerated)
            if scores[0] < scores[copies:].min():
                return factor
            factor /= 2
        return None

    def _upper_bound(self, copies: int) -> float:
        """Return the bound of the paper's Theorem 1; counts that small fleets drive below 1 are kept at 1."""
        h = len(self.squared)
        nearest = self.squared.sort(dim=1).values[:, 1:][:, : max(h - 2, 1)].sum(dim=1).min()
        within = float(nearest) / max(h - copies - 1, 1)
        return (sqrt(within) + sqrt(float(self.norms.max()))) / sqrt(self.d)


def _scores(squared: Tensor, tolerated: int) -> Tensor:
    """Return Krum's scores (n,): squared distances to the n - tolerated - 2 nearest others, summed."""
    n = len(squared)
    return krum_scores(squared, neighbours=min(max(n - tolerated - 2, 1), n - 1))

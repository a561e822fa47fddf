"""The attack on comparative gradient elimination."""

from dataclasses import dataclass

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, SearchSpace
from clients.bounds import OpenShare
from clients.kernels import squared_norms, unit_vector


@dataclass(frozen=True, kw_only=True)
class AntiCge(Attack):
    """Send minus the sum of the honest updates that a norm-based rule keeps, short enough to be kept.

    The attack follows ByzantineMomentum (Rouault). It attacks the rule of Gupta, Liu, Vaidya,
    "Byzantine Fault-Tolerant Distributed Machine Learning with Norm-Based Comparative Gradient Elimination",
    DSN Workshops 2021, which averages the n - f shortest updates. If the rule
    keeps all malicious updates, it also keeps the h - f shortest honest ones. The attack sends minus their
    sum, scaled to be shorter than the next honest update.
    """

    margin: OpenShare = 1e-6
    """Difference from the norm of the next honest update, as a share of that norm."""

    card = AttackCard(
        paper="Gupta et al., DSN Workshops 2021 (the rule); ByzantineMomentum (the attack)",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="ByzantineMomentum sends NaN if more clients are malicious than tolerated.",
    )
    search_space = SearchSpace()

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        tolerated = context.malicious if context.tolerated is None else context.tolerated
        norms, order = squared_norms(visible).sqrt().sort()
        kept = min(max(len(visible) - tolerated, 0), len(visible) - 1)
        chosen = torch.zeros(len(visible), dtype=own.dtype, device=own.device)
        chosen[order[: max(kept, 1)]] = 1
        below = float(norms[kept]) * (1 - self.margin)
        return (-below * unit_vector(chosen @ visible)).expand_as(own).clone()

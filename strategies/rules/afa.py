"""Adaptive federated averaging: reject updates by their cosines, and block clients rejected too often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.client_memory import client_memory
from strategies.kernels.distances import NOTHING, lengths_and_cosines
from strategies.kernels.order_statistics import median_of
from strategies.kernels.weighted_sums import weighted
from strategies.parameters import positive, require_non_negative


@dataclass(frozen=True, kw_only=True)
class AFA(Rule):
    """Average, by reputation and number of examples, the updates whose cosine with the average is ordinary.

    Muñoz-González, Co, Lupu, "Byzantine-Robust Federated Machine Learning through Adaptive Model
    Averaging", 2019. A client is rejected if its cosine is more than `slack` standard deviations from the
    median, on the side of the mean. Then the average is computed again with a larger slack, until no client
    is rejected. The numbers of rounds in which a client was kept and rejected are the parameters of the Beta
    distribution of its reputation. A client that is probably malicious is blocked for the rest of the run.

    >>> import torch
    >>> AFA()(torch.tensor([[1.0], [1.0], [1.0], [1.0], [1.0], [-1.0]])).trust
    tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000, 0.0000], dtype=torch.float64)
    """

    slack: float = 2.0
    """Largest distance of a cosine from the median, in standard deviations, xi in the paper."""
    step: float = 0.5
    """Increase of the slack after each pass."""
    prior: float = 3.0
    """Alpha and beta of a client's reputation before its first round."""
    certainty: float = 0.95
    """Probability of being rejected more often than kept at which a client is blocked, delta in the paper."""

    search_space: ClassVar = {"slack": (1.0, 2.0, 3.0), "certainty": (0.9, 0.95, 0.99)}
    card: ClassVar = RuleCard(
        paper="Muñoz-González et al., 2019",
        needs=("history",),
        cost="O(n^2 d), and two numbers of memory per client",
        deviations="Cosines are between updates; the paper's are between models, which hardly differ. Public "
        "implementations raise the slack by 0.25. A blocked client still trains, and is ignored.",
        translation_equivariant=False,
        uses_weights=True,
    )

    def __post_init__(self) -> None:
        positive(slack=self.slack, prior=self.prior)
        require_non_negative(step=self.step)
        if not 0 < self.certainty < 1:
            raise ValueError(f"certainty: got {self.certainty}, expected a probability between 0 and 1.")

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        from scipy.special import betainc  # noqa: PLC0415  # a second to import, for this rule alone

        known_clients = client_memory(context, len(updates), updates.device)
        good, bad = (
            known_clients.table(context.state, name, (), shares, self.prior) for name in ("good", "bad")
        )
        risk = betainc(good[known_clients.rows].cpu().numpy(), bad[known_clients.rows].cpu().numpy(), 0.5)
        allowed = torch.as_tensor(risk, device=updates.device) <= self.certainty
        reputation = good[known_clients.rows] / (good + bad)[known_clients.rows]
        merit = reputation * shares
        kept = self.inliers(updates, merit, allowed)
        good[known_clients.rows] += (kept & allowed).double()
        bad[known_clients.rows] += (~kept & allowed).double()
        return weighted(
            normalised(merit, kept), updates, {"nodes": known_clients.client_ids, "good": good, "bad": bad}
        )

    def inliers(self, updates: Tensor, merit: Tensor, allowed: Tensor) -> Tensor:
        """Return the `allowed` updates (n,) that are left when every cosine is ordinary."""
        sizes, angles = lengths_and_cosines(updates)
        largest = sizes.max().clamp(min=torch.finfo(torch.float64).tiny)
        kept, slack = allowed, self.slack
        while bool(kept.any()):
            shares = normalised(merit, kept) * (sizes / largest)
            norm = (shares @ angles @ shares).clamp(min=0).sqrt()
            cosine = angles @ shares / torch.where(norm > 0, norm, 1)
            centre, spread = median_of(cosine[kept]), cosine[kept].std(correction=0)
            side = 1 if bool(cosine[kept].mean() < centre) else -1
            odd = kept & (side * (centre - cosine) > slack * spread + NOTHING)
            if not bool(odd.any()):
                break
            kept, slack = kept & ~odd, slack + self.step
        return kept


def normalised(merit: Tensor, kept: Tensor) -> Tensor:
    """Return `merit` (n,) of the kept clients as shares. If their merit is 0, return zeros."""
    shares = torch.where(kept, merit, 0)
    total = shares.sum()
    return shares / torch.where(total > 0, total, 1)

"""Adaptive federated averaging: drop who points elsewhere, and block who is dropped too often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.combination import weighted
from strategies.cosines import NOTHING, lengths_and_cosines
from strategies.medians import median_of
from strategies.node_memory import roll_call
from strategies.rule import Aggregate, Card, Context, checked


@dataclass(frozen=True, kw_only=True)
class AFA:
    """Average, by reputation and examples, the updates whose cosine with that very average is ordinary.

    Muñoz-González, Co, Lupu, "Byzantine-Robust Federated Machine Learning through Adaptive Model
    Averaging", 2019. While some cosine is further than `slack` standard deviations on the odd side of the
    median, its client is dropped, the average taken anew, and the slack raised. How often a node was kept
    and dropped gives the Beta distribution of its reputation; a node that is probably bad is blocked for
    good.

    >>> import torch
    >>> AFA()(torch.tensor([[1.0], [1.0], [1.0], [1.0], [1.0], [-1.0]])).trust
    tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000, 0.0000], dtype=torch.float64)
    """

    slack: float = 2.0
    """Xi in the paper: standard deviations from the median at which a cosine is odd."""
    step: float = 0.5
    """What the slack grows by after each pass."""
    prior: float = 3.0
    """Alpha and beta of every node's reputation before it is seen."""
    certainty: float = 0.95
    """Delta in the paper: the probability of being bad more often than good at which a node is blocked."""

    card: ClassVar = Card(
        paper="Muñoz-González et al., 2019",
        needs=("history",),
        cost="O(n^2 d), and two remembered numbers a node",
        deviations="Cosines are between updates; the paper's are between models, which hardly differ. Public "
        "implementations raise the slack by 0.25. A blocked node is still asked to train, and ignored.",
        translation_equivariant=False,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not (self.slack > 0 and self.step >= 0 and self.prior > 0):
            raise ValueError(
                f"slack, step, prior: got {self.slack}, {self.step}, {self.prior}, "
                "wanted a positive slack and prior, and a step of 0 or more."
            )
        if not 0 < self.certainty < 1:
            raise ValueError(f"certainty: got {self.certainty}, wanted a probability between 0 and 1.")

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        from scipy.special import betainc  # noqa: PLC0415  # a second to import, for this rule alone

        updates, examples = checked(self, updates, weights)
        context = context or Context()
        roll = roll_call(context, len(updates), updates.device)
        good, bad = (roll.table(context.state, name, (), examples, self.prior) for name in ("good", "bad"))
        risk = betainc(good[roll.here].cpu().numpy(), bad[roll.here].cpu().numpy(), 0.5)
        allowed = torch.as_tensor(risk, device=updates.device) <= self.certainty
        reputation = good[roll.here] / (good + bad)[roll.here]
        kept = self.ordinary(updates, reputation * examples, allowed)
        good[roll.here] += (kept & allowed).double()
        bad[roll.here] += (~kept & allowed).double()
        shares = normalised(reputation * examples, kept)
        return weighted(shares, updates, {"nodes": roll.nodes, "good": good, "bad": bad})

    def ordinary(self, updates: Tensor, merit: Tensor, allowed: Tensor) -> Tensor:
        """Return which of the `allowed` updates (n,) are left when no cosine is odd any more."""
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
    """Return `merit` (n,) as shares of what is kept; zeros where that is nothing."""
    shares = torch.where(kept, merit, 0)
    total = shares.sum()
    return shares / torch.where(total > 0, total, 1)

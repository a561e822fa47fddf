"""SparseFed: change only the coordinates of the model that have gathered the largest sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, finite_norms
from strategies.kernels.sparsity import least_kept, sparse
from strategies.kernels.weighted_sums import clip_factors, combine
from strategies.parameters import below_one, fraction, limit


@dataclass(frozen=True, kw_only=True)
class SparseFed(Rule):
    """Apply the largest coordinates of the mean of clipped updates, and keep the others for later rounds.

    Panda, Mahloujifar, Bhagoji, Chakraborty, Mittal, "SparseFed: Mitigating Model Poisoning Attacks in
    Federated Learning with Sparsification", AISTATS 2022. The server adds the mean of the clipped updates to
    its error memory, applies the coordinates of the memory with the largest absolute values, and sets them to
    0 in the memory.

    >>> import torch
    >>> first = SparseFed(kept=0.5)(torch.tensor([[0.6, 0.4], [0.6, 0.4]]))
    >>> first.update
    tensor([0.6000, 0.0000])
    >>> SparseFed(kept=0.5)(torch.tensor([[0.5, 0.4]]), None, Context(state=first.state)).update
    tensor([0.0000, 0.8000])
    """

    kept: float = 0.1
    """Share of the coordinates that change per round, at least one, k / d in the paper."""
    clip: float = 1.0
    """Largest norm of an update."""
    momentum: float = 0.0
    """Momentum of the server, 0 to 1, which is set to 0 in the coordinates that change."""

    search_space: ClassVar = {"kept": (0.01, 0.1, 0.3), "clip": (0.3, 1.0, 3.0)}
    card: ClassVar = RuleCard(
        paper="Panda et al., AISTATS 2022",
        needs=("history",),
        cost="O(n d)",
        deviations="The number of coordinates and the norm depend on the task; the authors' code has 50,000 "
        "of 6.6 million and a norm of 1 by default. Of equal absolute values, all are applied.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        fraction(kept=self.kept)
        limit(clip=self.clip)
        below_one(momentum=self.momentum)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n, d = updates.shape
        factors = clip_factors(finite_norms(updates), self.clip) / n
        velocity, error = (
            context.state.get(name, torch.zeros_like(updates[0])).to(updates)
            for name in ("velocity", "error")
        )
        velocity = self.momentum * velocity + combine(factors, updates)
        error = (error + velocity)[None]
        update = sparse(error, least_kept(error, d - max(1, int(self.kept * d))))[0]
        left = update == 0
        memory = {"velocity": velocity * left, "error": error[0] * left}
        return Aggregate(update=update, trust=factors, state=memory)

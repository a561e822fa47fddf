"""FLTrust: weight updates by their cosine with the server's own update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, InputError, Rule, RuleCard, finite_norms
from strategies.kernels.columns import sum_over_chunks
from strategies.kernels.distances import row_norms
from strategies.kernels.weighted_sums import combine


@dataclass(frozen=True, kw_only=True)
class FLTrust(Rule):
    """Average the updates, scaled to the server's norm, weighted by their cosine with the server's update.

    Cao, Fang, Liu, Gong, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping", NDSS 2021.
    The server trains on its own small clean data set. A client with a negative cosine gets weight 0. If all
    cosines are negative, the model does not change.

    Raises:
        InputError: the context has no `root_update`.

    >>> import torch
    >>> server = Context(root_update=lambda: torch.tensor([1.0, 0.0]))
    >>> FLTrust()(torch.tensor([[9.0, 0.0], [0.0, 5.0], [-1.0, 0.0]]), None, server)
    Aggregate(update=tensor([1., 0.]), trust=tensor([1., 0., 0.], dtype=torch.float64), state={})
    """

    card: ClassVar = RuleCard(
        paper="Cao et al., NDSS 2021",
        needs=("root data",),
        deviations="Trust is the weight of the update after it is scaled to the server's norm.",
        unanimous=False,
        translation_equivariant=False,
    )
    checks_values: ClassVar[bool] = True

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        sizes = finite_norms(updates)
        if context.root_update is None:
            raise InputError(
                "root data: got none, expected a server update to compare with; give the server root data "
                "(`root_samples` in a scenario), or `root_update` in the context."
            )
        root = context.root_update().to(updates)
        size = row_norms(root[None])
        if not bool(size.isfinite().all()):
            raise InputError(
                "root update: contains NaN or infinity, expected finite values. "
                "Lower the learning rate, or check the root data."
            )
        # The rows and the root are divided by their norms before the product, which could overflow otherwise.
        scale = torch.where(sizes > 0, sizes, 1).to(updates.dtype)[:, None]
        unit = root / torch.where(size > 0, size, 1).to(root.dtype)
        cosine = sum_over_chunks(
            lambda columns: (updates[:, columns] / scale) @ unit[columns], updates, (len(updates),)
        )
        trust = cosine.clamp(0, 1)
        trust /= trust.sum().clamp(min=torch.finfo(torch.float64).tiny)
        factors = torch.where(trust > 0, trust * size / scale.flatten().double(), 0)
        if bool((factors > torch.finfo(updates.dtype).max).any()):  # rows of denormal numbers
            updates, factors = (updates.double() / scale.double()).to(updates.dtype), trust * size
        return Aggregate(update=combine(factors, updates), trust=trust)

"""Auror: reject clients that are often in the smaller of two clusters of a coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.layers import output_columns
from strategies.kernels.order_statistics import over_sorted_columns
from strategies.kernels.spectral import two_means
from strategies.kernels.weighted_sums import mean_of
from strategies.parameters import fraction, require_non_negative


@dataclass(frozen=True, kw_only=True)
class Auror(Rule):
    """Average the updates of clients that are seldom in the minority of a coordinate that splits in two.

    Shen, Tople, Saxena, "Auror: Defending Against Poisoning Attacks in Collaborative Deep Learning
    Systems", ACSAC 2016. 2-means splits the values of each coordinate. A coordinate is indicative if the
    centres are further apart than `threshold`. A client is rejected if it is in the smaller cluster in more
    than the share `tolerance` of the indicative coordinates.

    >>> import torch
    >>> Auror()(torch.tensor([[1.0, 0.0], [1.1, 0.0], [0.9, 0.0], [-1.0, 0.0]])).update
    tensor([1., 0.])
    """

    threshold: float = 0.002
    """Smallest distance of the centres of an indicative coordinate. The paper tunes it for each data set."""
    tolerance: float = 0.5
    """Largest share of indicative coordinates in which a client may be in the minority, tau in the paper."""
    features: Literal["all", "output"] = "all"
    """Coordinates that may be indicative: all, or the output layer's weights, as in FLPoison."""

    search_space: ClassVar = {"threshold": (0.0005, 0.002, 0.008), "tolerance": (0.25, 0.5, 0.75)}
    card: ClassVar = RuleCard(
        paper="Shen et al., ACSAC 2016",
        cost="O(n log n d)",
        deviations="The indicative coordinates are found in every round; the paper and FLPoison find "
        "them in the first rounds and keep them. FLPoison then clusters the clients once, on all indicative "
        "coordinates together. The default threshold is FLPoison's. 2-means is exact, by sorting.",
        scale_equivariant=False,
    )

    def __post_init__(self) -> None:
        require_non_negative(threshold=self.threshold)
        fraction(tolerance=self.tolerance)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n, d = updates.shape
        if n == 1:
            return mean_of(torch.zeros(1, dtype=torch.long, device=updates.device), updates)
        columns = output_columns(context.layout, d)
        features = updates[:, columns] if self.features == "output" else updates

        def minority_shares(ordered: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            below, apart = two_means(ordered.double())
            apart = apart.to(values.dtype)
            last = ordered.gather(1, below[:, None] - 1)
            smaller = torch.where(below[:, None] <= n // 2, values <= last, values > last)
            indicative = (apart > self.threshold) & (2 * below != n)
            return apart, (smaller & indicative[:, None]).sum(dim=0).double()

        apart, counts = over_sorted_columns(features, minority_shares)
        allowed = self.tolerance * int((apart > self.threshold).sum())
        kept = counts <= allowed
        return mean_of((kept if bool(kept.any()) else counts == counts.min()).nonzero().flatten(), updates)

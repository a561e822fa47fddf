"""Bulyan: repeated selection by a base rule, then a coordinate-wise mean around the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, refuse_non_finite
from strategies.kernels.distances import krum_scores, row_norms, squared_distances
from strategies.kernels.order_statistics import mean_of_nearest, middle, over_sorted_columns
from strategies.parameters import one_of
from strategies.rules.geometric_median import GeometricMedian
from strategies.rules.median import Median
from strategies.rules.trimmed_mean import TrimmedMean
from strategies.tolerance import RelaxableRule


def base_rule(name: str, byzantine: int) -> Rule:
    """Return the base rule `name`, other than Krum, for `byzantine` malicious clients."""
    if name == "trimmed-mean":
        return TrimmedMean(byzantine=byzantine)
    return GeometricMedian() if name == "geometric-median" else Median()


@dataclass(frozen=True, kw_only=True)
class Bulyan(RelaxableRule):
    """Select n - 2f updates by a rule and average, per coordinate, their n - 4f values nearest to the median.

    El Mhamdi, Guerraoui, Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium",
    ICML 2018. The selected update is the one nearest to the result of the base rule, Krum by default.

    >>> import torch
    >>> Bulyan(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [99.0]])).update
    tensor([4.])
    """

    selection: Literal["iterated", "one-shot"] = "iterated"
    """Selection by the base rule. `iterated`: one run of the rule for every selected update, among the
    rest, as in the paper. `one-shot`: the best scores of a single run, as in Flower. Without Krum, the score
    is the distance from the rule's result."""
    base: Literal["krum", "geometric-median", "median", "trimmed-mean"] = "krum"
    """Rule that selects. The theorem of the paper holds for each rule that is resilient itself."""

    card: ClassVar = RuleCard(
        paper="El Mhamdi et al., ICML 2018",
        needs=("byzantine",),
        precondition="n > 4f + 2",
        cost="O(n^2 d + n^3 log n), with another `base` n - 2f times its cost",
        deviations="Flower and ByzantineMomentum select by one run of Multi-Krum: see `selection`. Of equal "
        "scores, the row with the smaller sum of distances to all others is selected; the paper has no "
        "rule for ties, and other libraries select the first row.",
        mean_without_byzantine=True,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("iterated", "one-shot", selection=self.selection)
        one_of("krum", "geometric-median", "median", "trimmed-mean", base=self.base)

    @property
    def guaranteed(self) -> int:
        return 4 * self.byzantine + 3

    @property
    def defined(self) -> int:
        return 4 * self.byzantine + 1

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n, f = len(updates), self.byzantine
        squared = squared_distances(updates)
        refuse_non_finite(updates, squared)
        if self.base != "krum":
            selected = self.nearest_to_base(updates, squared, context)
        elif self.selection == "iterated":
            selected = iterated_krum(squared, byzantine=f, select=n - 2 * f)
        else:
            scores = krum_scores(squared, neighbours=max(1, n - f - 2))
            selected = scores.sort(stable=True).indices[: n - 2 * f]
        selected = selected.sort().values  # ascending rows are read faster than rows in order of their scores

        def around_median(ordered: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            return mean_of_nearest(ordered, values, middle(ordered), n - 4 * f)

        update, kept = over_sorted_columns(updates, around_median, rows=selected)
        trust = torch.zeros(n, dtype=torch.float64, device=updates.device)
        trust[selected] = kept / kept.sum()
        return Aggregate(update=update, trust=trust)

    def nearest_to_base(self, updates: Tensor, squared: Tensor, context: Context) -> Tensor:
        """Return the n - 2f rows nearest to the result of `base`, one after the other or at once."""
        n, f = len(updates), self.byzantine
        left = torch.arange(n, device=updates.device)
        picked: list[Tensor] = []
        while len(picked) < n - 2 * f:
            shares = torch.full((len(left),), 1 / len(left), dtype=torch.float64, device=updates.device)
            result = base_rule(self.base, f).aggregate(updates[left], shares, context).update
            distances = row_norms(updates[left], origin=result)
            # Of equal distances, the row with the smaller sum of distances to the others comes first.
            ranked = squared[left[:, None], left].sum(dim=1).sort(stable=True).indices
            ranked = ranked[distances[ranked].sort(stable=True).indices]
            taken = ranked[:1] if self.selection == "iterated" else ranked[: n - 2 * f]
            picked.extend(left[taken])
            left = left[torch.isin(left, left[taken], invert=True)]
        return torch.stack(picked)


def iterated_krum(squared: Tensor, *, byzantine: int, select: int) -> Tensor:
    """Return the rows (select,) that Krum picks one after the other, each among the rows that are left.

    When few rows are left, two nearest neighbours often score equally. Then the row with the smaller
    sum of distances to all the others is picked, so that the order of the clients does not matter.

    Args:
        squared: squared distances between the updates, (n, n).
        byzantine: f. The score of a row among r rows counts its r - f - 2 nearest others, at least one.
        select: number of rows to pick, 1 to n.
    """
    left = torch.arange(len(squared), device=squared.device)
    picked = []
    for _ in range(select):
        among = squared[left[:, None], left]
        scores = krum_scores(among, neighbours=max(1, len(left) - byzantine - 2))
        totals = among.sum(dim=1).masked_fill(scores > scores.min(), torch.inf)
        best = int(totals.argmin())
        picked.append(left[best])
        left = torch.cat([left[:best], left[best + 1 :]])
    return torch.stack(picked)

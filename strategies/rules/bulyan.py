"""Bulyan: repeated selection by Krum, then a coordinate-wise mean around the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard, refuse_non_finite
from strategies.kernels.distances import krum_scores, squared_distances
from strategies.kernels.order_statistics import mean_of_nearest, middle, over_sorted_columns
from strategies.parameters import one_of
from strategies.tolerance import RelaxableRule


@dataclass(frozen=True, kw_only=True)
class Bulyan(RelaxableRule):
    """Select n - 2f updates by Krum and average, per coordinate, their n - 4f values nearest to the median.

    El Mhamdi, Guerraoui, Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium",
    ICML 2018.

    >>> import torch
    >>> Bulyan(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [99.0]])).update
    tensor([4.])
    """

    selection: Literal["iterated", "one-shot"] = "iterated"
    """Selection by Krum. `iterated`: one run of Krum for every update that is selected, among the rest, as in
    the paper. `one-shot`: the best scores of a single run, as in Flower."""

    card: ClassVar = RuleCard(
        paper="El Mhamdi et al., ICML 2018",
        needs=("byzantine",),
        precondition="n > 4f + 2",
        cost="O(n^2 d + n^3 log n)",
        deviations="Flower and ByzantineMomentum select by one run of Multi-Krum: see `selection`. Of equal "
        "Krum scores, the row with the smaller sum of distances to all others is selected; the paper has no "
        "rule for ties, and other libraries select the first row.",
        mean_without_byzantine=True,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("iterated", "one-shot", selection=self.selection)

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
        if self.selection == "iterated":
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

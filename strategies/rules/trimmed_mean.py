"""The coordinate-wise trimmed mean, and the means of the values around it (Phocas) or the median (Meamed)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard
from strategies.kernels.order_statistics import mean_of_nearest, mean_within, middle, shares_within
from strategies.kernels.weighted_sums import coordinate_wise
from strategies.tolerance import ByzantineRule, RelaxableRule


@dataclass(frozen=True, kw_only=True)
class TrimmedMean(ByzantineRule):  # not relaxable: for n <= 2f, no value is left to average
    """Compute the coordinate-wise trimmed mean.

    For each coordinate, discard the `byzantine` largest and smallest values and average the rest (Yin, Chen,
    Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML
    2018).

    >>> import torch
    >>> TrimmedMean(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [100.0]])).update
    tensor([2.5000])
    """

    card: ClassVar = RuleCard(
        paper="Yin et al., ICML 2018",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
        deviations="Cuts f values at each end, as ByzFL and Blades do; Flower cuts int(0.2 n) at each end.",
        mean_without_byzantine=True,
        coordinate_wise=True,
    )

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        low, high = self.byzantine, len(updates) - self.byzantine

        def core(ordered: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            kept = ordered[:, low:high]
            return mean_within(kept), shares_within(values, kept[:, 0], kept[:, -1])

        return coordinate_wise(updates, core)


@dataclass(frozen=True, kw_only=True)
class _MeanAround(ByzantineRule):
    """Base class of rules that average, per coordinate, the n - f values nearest to a robust centre."""

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        nearest = len(updates) - self.byzantine

        def around_centre(ordered: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            return mean_of_nearest(ordered, values, self.centre(ordered), nearest)

        return coordinate_wise(updates, around_centre)

    @abstractmethod
    def centre(self, ordered: Tensor) -> Tensor:
        """Return the centre (c,) of values (c, n) that ascend along each row."""


@dataclass(frozen=True, kw_only=True)
class MeanAroundMedian(_MeanAround, RelaxableRule):
    """Average the n - f values nearest to the median of each coordinate (Meamed).

    Xie, Koyejo, Gupta, "Generalized Byzantine-tolerant SGD", 2018. If two values are equally far from the
    median, the smaller value is kept.

    >>> import torch
    >>> MeanAroundMedian(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [100.0]])).update
    tensor([2.])
    """

    card: ClassVar = RuleCard(
        paper="Xie, Koyejo, Gupta, 2018",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
        deviations="ByzFL's Meamed is the same, but its sort chooses between equally near values.",
        mean_without_byzantine=True,
        coordinate_wise=True,
    )

    def centre(self, ordered: Tensor) -> Tensor:
        return middle(ordered)


@dataclass(frozen=True, kw_only=True)
class Phocas(_MeanAround):  # not relaxable: its centre is the trimmed mean
    """Average the n - f values nearest to the trimmed mean of each coordinate.

    Xie, Koyejo, Gupta, "Phocas: dimensional Byzantine-resilient stochastic gradient descent", 2018. The
    trimmed mean discards the f largest and smallest values. If two values are equally far from it, the
    smaller value is kept.

    >>> import torch
    >>> Phocas(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [100.0]])).update
    tensor([2.])
    """

    card: ClassVar = RuleCard(
        paper="Xie, Koyejo, Gupta, 2018",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n log n d)",
        mean_without_byzantine=True,
        coordinate_wise=True,
    )

    def centre(self, ordered: Tensor) -> Tensor:
        return mean_within(ordered[:, self.byzantine : ordered.shape[1] - self.byzantine])

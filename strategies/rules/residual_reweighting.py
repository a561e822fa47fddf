"""Residual reweighting: weight clients by their residuals from a robust line through each coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.columns import CACHED, sum_over_chunks
from strategies.kernels.order_statistics import median_of, middle
from strategies.kernels.weighted_sums import combine
from strategies.parameters import fraction, limit, positive

CONSISTENT = 1.4826
"""Quotient of the standard deviation and the median absolute deviation of normal numbers."""
ROUNDING = 1e-7
"""Residuals below this share of a coordinate's range are 0."""


@dataclass(frozen=True, kw_only=True)
class ResidualReweighting(Rule):
    """Average the updates with weights from their residuals, after the correction of extreme values.

    Fu, Xie, Li, Chen, "Attack-Resistant Federated Learning with Residual-based Reweighting", 2019:
    iteratively reweighted least squares (IRLS). In each coordinate, the repeated median fits a line through
    the values over their ranks. A value's confidence is 1 up to a standardised residual of `confidence`
    sqrt(2 / n), and falls with larger ones. A client's weight comes from the sum of its confidences, each
    times the standard deviation of all clients' confidences in its coordinate. Values of confidence below
    `threshold` are replaced by those of the line.

    >>> import torch
    >>> rows = torch.tensor([[1.0, 1.0], [1.1, 1.2], [1.2, 1.1], [1.3, 1.3], [90.0, -90.0]])
    >>> ResidualReweighting()(rows).trust.round(decimals=2)
    tensor([0.2500, 0.2500, 0.2500, 0.2500, 0.0000], dtype=torch.float64)
    """

    confidence: float = 2.0
    """Factor of the largest standardised residual with full confidence, lambda in the paper."""
    threshold: float = 0.1
    """Smallest confidence of a value that is not replaced, delta in the paper."""
    power: float = 2.0
    """Exponent of the clients' sums of confidences, 2 in the authors' code."""

    search_space: ClassVar = {"confidence": (0.5, 1.0, 2.0, 4.0), "threshold": (0.1, 0.3)}
    card: ClassVar = RuleCard(
        paper="Fu et al., 2019",
        cost="O(n^2 log n d)",
        deviations="Equal values have the mean of their ranks; the authors' code ranks them by position. It "
        "adds 1e-7 to the scale of the residuals; here this share of the coordinate's range is added. If no "
        "confidence varies, all clients have the same weight.",
    )

    def __post_init__(self) -> None:
        limit(confidence=self.confidence)
        fraction(threshold=self.threshold)
        positive(power=self.power)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n = len(updates)
        corrected = torch.empty_like(updates)
        largest = torch.finfo(updates.dtype).max

        def work(columns: slice) -> Tensor:
            values = updates[:, columns].double().T.contiguous()
            line, confidences = self.confidences(values)
            kept = torch.where(confidences >= self.threshold, values, line.clamp(-largest, largest))
            corrected[:, columns] = kept.T.to(updates.dtype)
            spread = confidences.std(dim=1, keepdim=True) if n > 1 else torch.ones_like(confidences)
            return (confidences * spread).sum(dim=0)

        # Each coordinate takes a matrix of n^2 slopes.
        sums = sum_over_chunks(work, updates, (n,), values=CACHED // n)
        varied = bool(sums.max() > 0)
        trust = (sums / sums.max()) ** self.power if varied else torch.ones_like(sums)
        trust = trust / trust.sum()
        return Aggregate(update=combine(trust, corrected), trust=trust)

    def confidences(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of the line and the confidences (c, n), of `values` (c, n), float64."""
        n = values.shape[1]
        ordered = values.sort(dim=1).values
        slopes = repeated_median(ordered)
        first = torch.searchsorted(ordered, values)
        ranks = (first + torch.searchsorted(ordered, values, right=True) - 1) / 2
        offsets = ranks.double() - (n - 1) / 2
        line = middle(ordered)[:, None] + slopes[:, None] * offsets
        residuals = (values - line).abs()
        least = ROUNDING * (ordered[:, -1:] - ordered[:, :1])
        others = residuals.sort(dim=1).values[:, 1:]
        typical = median_of(others)[:, None] if n > 1 else torch.zeros_like(least)
        scale = CONSISTENT * (1 + 5 / max(n - 1, 1)) * typical + least
        leverage = 1 / n + offsets.square() / ((n**3 - n) / 12 or 1)  # the diagonal of the hat matrix
        full = self.confidence * (2 / n) ** 0.5 * (1 - leverage).clamp(min=0).sqrt() * scale
        trusted = (residuals <= full) | (residuals <= least)
        return line, torch.where(trusted, 1, full / torch.where(trusted, 1, residuals))


def repeated_median(ordered: Tensor) -> Tensor:
    """Return the slopes (c,) of the repeated median line through values (c, n) that ascend along each row.

    Siegel, "Robust Regression Using Repeated Medians", Biometrika 1982: the median over all points of the
    median slope of the lines through this point and another one. The places are 0 to n - 1.

    >>> repeated_median(torch.tensor([[1.0, 2.0, 3.0, 90.0]]))
    tensor([1.])
    """
    n = ordered.shape[1]
    if n == 1:
        return torch.zeros_like(ordered[:, 0])
    places = torch.arange(n, dtype=ordered.dtype, device=ordered.device)
    runs = (places - places[:, None]).fill_diagonal_(1)
    slopes = (ordered[:, None] - ordered[:, :, None]) / runs
    slopes.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return median_of(middle(slopes.sort(dim=2).values[:, :, :-1]))

"""The geometric median, known as RFA in federated learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from strategies.central_gram import central_gram
from strategies.combination import weighted
from strategies.distances import norms_around, row_norms
from strategies.rule import Aggregate, Card, Context, Rule, not_negative, one_of, positive

SMOOTH = 1e-6
"""Default of `nu` as a share of the typical distance between updates."""
TINY = 1e-150
"""Smallest distance that the pulls are divided by."""


@dataclass(frozen=True, kw_only=True)
class GeometricMedian(Rule):
    """Compute the geometric median: the point with the smallest weighted sum of distances to the updates.

    Pillutla, Kakade, Harchaoui, "Robust Aggregation for Federated Learning", IEEE TSP 2022.
    Weiszfeld's iteration is z <- sum b_i g_i / sum b_i with b_i = w_i / max(nu, |g_i - z|), and starts from
    the weighted mean. The weights w_i are the clients' numbers of examples.

    >>> import torch
    >>> rows = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -90.0]])
    >>> GeometricMedian()(rows).update.abs() < 1e-5
    tensor([True, True])
    """

    nu: float | None = None
    """Smallest distance that the iteration distinguishes. Default: a millionth of the typical distance of two
    updates. RFA uses 1e-6 and ByzFL .1, which turns the median of small updates into their mean: with a fixed
    number, the result does not scale with the updates."""
    iterations: int = 1000
    """Largest number of iterations. RFA stops after 3, because each of its iterations exchanges messages."""
    tolerance: float = 1e-10
    """Length of the last step as a share of the median distance to the updates."""
    start: Literal["mean", "zero"] = "mean"
    """First point: the mean, as in RFA, or the zero vector, as in ByzFL. It matters with few iterations."""

    card: ClassVar = Card(
        paper="Pillutla et al., IEEE TSP 2022",
        precondition="n >= 1",
        cost="O(n^2 d)",
        deviations="Iterates until it converges. RFA: nu=1e-6, iterations=3; ByzFL: nu=.1, iterations=3, "
        "start=zero, no weights; neither tests for convergence (tolerance=0).",
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        positive(iterations=self.iterations, nu=1 if self.nu is None else self.nu)
        not_negative(tolerance=self.tolerance)
        one_of("mean", "zero", start=self.start)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        # Every point of the iteration is a combination of the updates. Inner products give its distances to
        # the updates, so an iteration costs O(n^2) instead of O(n d), and the matrix is read only twice.
        products, typical = central_gram(updates)
        nu = max(SMOOTH * typical**0.5, TINY) if self.nu is None else self.nu
        coefficients = shares
        distances = row_norms(updates) if self.start == "zero" else norms_around(products, shares)
        for iteration in range(self.iterations):
            pulls = shares / distances.clamp(min=nu)
            previous, coefficients = coefficients, pulls / pulls.sum()
            distances = norms_around(products, coefficients)
            change = coefficients - previous
            step = (change @ products @ change).clamp(min=0).sqrt()
            began = iteration > 0 or self.start == "mean"
            if began and bool(step <= self.tolerance * distances.median()):
                break
        return weighted(coefficients, updates)

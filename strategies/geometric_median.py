"""The geometric median, known in federated learning as RFA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from strategies.central_gram import central_gram
from strategies.combination import weighted
from strategies.distances import norms_around, row_norms
from strategies.knobs import not_negative, positive
from strategies.rule import Aggregate, Card, Context, checked

SMOOTH = 1e-6
"""The default `nu`, as a share of the typical distance between updates."""
TINY = 1e-150
"""A distance that may be divided by."""


@dataclass(frozen=True, kw_only=True)
class GeometricMedian:
    """Find the point whose weighted sum of distances to the updates is smallest.

    Pillutla, Kakade, Harchaoui, "Robust Aggregation for Federated Learning", IEEE TSP 2022: Weiszfeld's
    iteration, z <- sum b_i g_i / sum b_i with b_i = w_i / max(nu, |g_i - z|), from the weighted mean on. The
    weights are the clients' example counts. All iterations happen on the updates' inner products.

    >>> import torch
    >>> rows = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -90.0]])
    >>> GeometricMedian()(rows).update.abs() < 1e-5
    tensor([True, True])
    """

    nu: float | None = None
    """Distances below it count as equal. None is a millionth of the typical distance between updates; RFA
    has 1e-6 and ByzFL .1 absolute, which turns the median of small updates into their mean: with a number
    the result does not scale with the updates."""
    iterations: int = 1000
    """At most; RFA stops after 3, since there each costs a round of messages."""
    tolerance: float = 1e-10
    """Stop when a step is shorter than this share of the median distance to the updates."""
    start: Literal["mean", "zero"] = "mean"
    """Where to begin: the mean, as RFA, or the zero vector, as ByzFL, which with few iterations shows."""

    card: ClassVar = Card(
        paper="Pillutla et al., IEEE TSP 2022",
        precondition="n >= 1",
        cost="O(n^2 d)",
        deviations="Iterates until it converges. RFA: nu=1e-6, iterations=3; ByzFL: nu=.1, iterations=3, "
        "start=zero, no weights; neither tests for convergence (tolerance=0).",
        rotation_equivariant=True,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        positive(iterations=self.iterations, nu=1 if self.nu is None else self.nu)
        not_negative(tolerance=self.tolerance)
        if self.start not in {"mean", "zero"}:
            raise ValueError(f"start: got {self.start!r}, wanted 'mean' or 'zero'.")

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, shares = checked(self, updates, weights)
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

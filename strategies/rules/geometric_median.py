"""The geometric median, known as RFA in federated learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.distances import gram, norms_around, row_norms
from strategies.kernels.weighted_sums import weighted
from strategies.parameters import one_of, positive, require_non_negative

FAR = 100.0
"""Largest quotient of the median squared distances of the origin and of the most central row."""


def central_gram(updates: Tensor) -> tuple[Tensor, float]:
    """Return the rows' inner products (n, n), float64, and the squared distance that is typical of them.

    The origin is the first row. If the first row is far from the others, the origin is the row with the
    smallest median distance. So an update far from the others reduces the precision of its own products
    alone.

    >>> import torch
    >>> products, typical = central_gram(torch.tensor([[900.0], [1.0], [2.0], [4.0]]))
    >>> products.diagonal().tolist(), typical
    ([808201.0, 0.0, 1.0, 9.0], 1.0)
    """
    products = gram(updates, origin=updates[0])
    spread = _median_distances(products)
    central = int(spread.argmin())
    if bool(spread[0] > FAR * spread[central]):
        products = gram(updates, origin=updates[central])
        spread = _median_distances(products)
    return products, float(spread.min())


def _median_distances(products: Tensor) -> Tensor:
    """Return the median squared distance (n,) of each row to all rows, itself included."""
    norms = products.diagonal()
    squared = (norms[:, None] + norms - 2 * products).clamp(min=0)
    ordered = squared.fill_diagonal_(0).sort(dim=1).values  # CUDA's median is not deterministic
    return ordered[:, (len(ordered) - 1) // 2]


SMOOTH = 1e-6
"""Default of `nu` as a share of the typical distance between updates."""
TINY = 1e-150
"""Smallest divisor of the pulls."""


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
    updates. RFA uses 1e-5 and ByzFL .1, which turns the median of small updates into their mean: with a fixed
    number, the result does not scale with the updates."""
    iterations: int = 1000
    """Largest number of iterations. RFA's code runs at most 4, because each of them exchanges messages."""
    tolerance: float = 1e-10
    """Length of the last step as a share of the median distance to the updates."""
    start: Literal["mean", "zero"] = "mean"
    """First point: the mean, as in RFA, or the zero vector, as in ByzFL. It matters with few iterations."""

    card: ClassVar = RuleCard(
        paper="Pillutla et al., IEEE TSP 2022",
        precondition="n >= 1",
        cost="O(n^2 d)",
        deviations="Iterates until it converges. RFA's code: nu=1e-5, iterations=4, and it stops if the "
        "objective changes by less than the share 1e-6. ByzFL: nu=.1, iterations=3, start=zero, no weights, "
        "and no test for convergence (tolerance=0).",
        rotation_equivariant=True,
        uses_weights=True,
    )

    def __post_init__(self) -> None:
        positive(iterations=self.iterations, nu=1 if self.nu is None else self.nu)
        require_non_negative(tolerance=self.tolerance)
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

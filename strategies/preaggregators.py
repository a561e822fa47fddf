"""Pre-aggregators, which mix or clip the updates of a round before a rule aggregates them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from strategies.base import (
    Context,
    Grid,
    InputError,
    RuleCard,
    finite_norms,
    refuse_non_finite,
    too_large,
    valid_shares,
)
from strategies.kernels.distances import row_norms, squared_distances
from strategies.kernels.weighted_sums import clip_factors
from strategies.parameters import positive
from strategies.tolerance import Relaxable


@dataclass(frozen=True, kw_only=True)
class PreAggregator(ABC):
    """Base class of pre-aggregators: check the updates of a round, then compute `coefficients`.

    A pre-aggregator is a frozen dataclass whose fields are its parameters. It returns coefficients C (m, n).
    The rule gets the m weighted sums `mixed(C, updates)` as its updates, and the clients' trust is
    `trust @ C`. The contract suite checks these properties on every registered pre-aggregator:

    - The pre-aggregator does not write to its arguments. Its result shares no memory with them.
    - The same arguments give the same coefficients, bit for bit, on any number of threads.
    - Coefficients are float64, finite and not negative, and no row sums to more than 1.
    - m is `rows(n)`, at least 1, and does not decrease with n. If `aligned`, m is n, and row i belongs to
      client i.
    - The flags of the card are true of the rows: the order of clients only changes the order of rows, n equal
      updates give that update in every row, the rows move and scale with the updates, and without malicious
      clients the mean of the rows is the mean of the updates.
    """

    card: ClassVar[RuleCard]
    search_space: ClassVar[Grid] = {}
    """Values that `fedpoison tune` tries, as of a rule."""
    aligned: ClassVar[bool] = True
    """Whether row i belongs to client i, so that a rule can still distinguish the clients."""
    checks_values: ClassVar[bool] = False
    """Whether `coefficients` looks for NaN and infinity itself, as in `Rule`."""

    @property
    def minimum(self) -> int:
        """Smallest number of updates for which the pre-aggregator is defined."""
        return 1

    def rows(self, n: int) -> int:
        """Return the number of rows for n updates."""
        return n

    @final
    def __call__(self, updates: Tensor, context: Context | None = None) -> Tensor:
        """Return the coefficients (m, n), float64, for `updates` (n, d).

        Raises:
            InputError: the matrix is not (n, d) floating point and finite, or the context lacks an input that
                the card needs.
            PreconditionError: n is below `minimum`.
        """
        updates = updates.detach()
        valid_shares(self, updates, None)
        if not self.checks_values:
            refuse_non_finite(updates)
        result = self.coefficients(updates, context or Context())
        if not bool(result.isfinite().all()):
            raise too_large(self, updates)
        return result

    @abstractmethod
    def coefficients(self, updates: Tensor, context: Context) -> Tensor:
        """Return the coefficients (m, n), float64, for checked `updates` (n, d)."""


@dataclass(frozen=True, kw_only=True)
class ARC(Relaxable, PreAggregator):
    """Clip the floor(2 (f / n) (n - f)) longest updates to the norm of the longest of the others.

    Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, "Adaptive Gradient Clipping for Robust Federated
    Learning", ICLR 2025.

    >>> ARC(byzantine=1)(torch.tensor([[1.0], [2.0], [8.0]])).diagonal()
    tensor([1.0000, 1.0000, 0.2500], dtype=torch.float64)
    """

    card: ClassVar = RuleCard(
        paper="Allouah et al., ICLR 2025",
        needs=("byzantine",),
        precondition="n > 2f",
        deviations="ByzFL clips in place, to the same norm. It takes any f <= n, and this class any f < n if "
        "`strict` is false.",
        translation_equivariant=False,
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )
    checks_values: ClassVar[bool] = True

    def coefficients(self, updates: Tensor, context: Context) -> Tensor:
        norms, n = finite_norms(updates), len(updates)
        clipped = 2 * self.byzantine * (n - self.byzantine) // n
        return clip_factors(norms, norms.sort().values[n - clipped - 1]).diag()


@dataclass(frozen=True, kw_only=True)
class Bucketing(PreAggregator):
    """Put the updates into random buckets of `size` updates, and return the mean of every bucket.

    Karimireddy, He, Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR 2022.
    At most f buckets contain a malicious client, so the rule still tolerates f, but among fewer rows.

    Raises:
        InputError: `order` is "random" and the context has no generator.

    >>> Bucketing(order="fixed")(torch.tensor([[1.0], [3.0], [8.0]]))
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 1.0000]], dtype=torch.float64)
    """

    size: int = 2
    """Updates per bucket. The last bucket may have fewer. The paper recommends at most n / (2f)."""
    order: Literal["random", "fixed"] = "random"
    """Shuffle the clients in every round, as in the paper, or fill the buckets in the clients' order."""

    search_space: ClassVar = {"size": (2, 3, 4)}
    card: ClassVar = RuleCard(
        paper="Karimireddy et al., ICLR 2022",
        needs=("randomness",),
        deviations="The authors' code also resamples with replacement; ByzFL forms buckets as here.",
        permutation_equivariant=False,
        rotation_equivariant=True,
    )
    aligned: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size: got {self.size}, expected at least 1 update per bucket.")

    def rows(self, n: int) -> int:
        return -(-n // self.size)

    def coefficients(self, updates: Tensor, context: Context) -> Tensor:
        n = len(updates)
        members = self._order(n, context.generator).to(updates.device)
        buckets = torch.arange(n, device=updates.device) // self.size
        inside = torch.zeros(self.rows(n), n, dtype=torch.float64, device=updates.device)
        inside[buckets, members] = 1
        return inside / inside.sum(dim=1, keepdim=True)

    def _order(self, n: int, generator: torch.Generator | None) -> Tensor:
        if self.order == "fixed":
            return torch.arange(n)
        if generator is None:
            raise InputError(
                f"{self!r}: got no random generator, expected one in the context. "
                "Pass a context with a generator, or set order=fixed."
            )
        return torch.randperm(n, generator=generator, device=generator.device)


@dataclass(frozen=True, kw_only=True)
class Clipping(PreAggregator):
    """Clip every update to the Euclidean norm `threshold`.

    Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019.

    >>> Clipping(threshold=2)(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    tensor([[0.4000, 0.0000],
            [0.0000, 1.0000]], dtype=torch.float64)
    """

    threshold: float = 2.0
    """Largest norm of an update."""

    search_space: ClassVar = {"threshold": (0.3, 1.0, 2.0, 5.0)}
    card: ClassVar = RuleCard(
        paper="Sun et al., 2019",
        deviations="The threshold depends on the task: 2 is ByzFL's default, FLPoison and BackFed take 3.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
        rotation_equivariant=True,
    )
    checks_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(threshold=self.threshold)

    def coefficients(self, updates: Tensor, context: Context) -> Tensor:
        return clip_factors(finite_norms(updates), self.threshold).diag()


MOST_COPIES = 1000
"""Largest number of copies. Each copy takes the memory of an update."""


@dataclass(frozen=True, kw_only=True)
class Foundation(PreAggregator):
    """Append copies of the update that is farthest from the extremes of all updates.

    FoundationFL: Fang, Nabavirazavi, Liu, Sun, Iyengar, Yang, "Do We Really Need to Design New
    Byzantine-robust Aggregation Rules?", NDSS 2025. The extremes are the largest and the smallest value of
    each coordinate. The score of an update is its distance from the nearer extreme, and the update of highest
    score is copied. The paper aggregates all rows by the median or the trimmed mean. Of equal scores, the
    first client's update is copied.

    >>> Foundation(copies=1)(torch.tensor([[0.0], [4.0], [9.0]]))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.],
            [0., 1., 0.]], dtype=torch.float64)
    """

    copies: int | None = None
    """Number of copies. Default: half as many as there are updates, rounded down."""

    card: ClassVar = RuleCard(
        paper="Fang et al., NDSS 2025",
        deviations="FL-Byzantine-Library appends 2 copies by default.",
        permutation_equivariant=False,  # the copies come last
    )
    aligned: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.copies is not None and not 0 <= self.copies <= MOST_COPIES:
            raise ValueError(f"copies: got {self.copies}, expected 0 to {MOST_COPIES}.")

    def rows(self, n: int) -> int:
        return n + (n // 2 if self.copies is None else self.copies)

    def coefficients(self, updates: Tensor, context: Context) -> Tensor:
        n = len(updates)
        highest, lowest = updates.amax(dim=0), updates.amin(dim=0)
        nearer = torch.minimum(row_norms(updates, origin=highest), row_norms(updates, origin=lowest))
        rows = torch.eye(n, dtype=torch.float64, device=updates.device)
        return torch.cat([rows, rows[nearer.argmax()].expand(self.rows(n) - n, n)])


@dataclass(frozen=True, kw_only=True)
class NNM(Relaxable, PreAggregator):
    """Replace every update by the mean of its n - f nearest updates, itself included.

    Nearest-neighbour mixing: Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A
    Recipe for Optimal Byzantine ML under Heterogeneity", AISTATS 2023. Of equally near updates, the first
    clients' are averaged.

    >>> NNM(byzantine=1)(torch.tensor([[1.0], [2.0], [9.0]]))
    tensor([[0.5000, 0.5000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.0000, 0.5000, 0.5000]], dtype=torch.float64)
    """

    card: ClassVar = RuleCard(
        paper="Allouah et al., AISTATS 2023",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n^2 d)",
        deviations="ByzFL gathers n (n - f) rows; here it is one product of matrices. ByzFL takes any f < n, "
        "as here with `strict` false.",
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )

    def coefficients(self, updates: Tensor, context: Context) -> Tensor:
        kept = len(updates) - self.byzantine
        distances = squared_distances(updates).fill_diagonal_(-1)
        nearest = distances.sort(dim=1, stable=True).indices[:, :kept]
        return torch.zeros_like(distances).scatter_(1, nearest, 1 / kept)

"""Base classes of aggregation rules, their input and output, and the checks of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, final, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # public, but not in `__all__`

from strategies.kernels.columns import STREAMED, Layout, over_chunks
from strategies.kernels.distances import row_norms

State = Mapping[str, Tensor]
"""Memory of a rule between rounds: named tensors, so that a checkpoint needs no pickle."""


Grid = Mapping[str, tuple[float | str, ...]]
"""A few values of each parameter that `fedpoison tune` tries, by name of the parameter."""


Gradient = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""`gradient(weights (d,), images (m, c, h, w), labels (m,)) -> (loss (), gradient (d,))`.

The loss is the mean cross-entropy of the model in evaluation mode: without dropout, with its buffers."""


class InputError(ValueError):
    """Updates, weights or context that a rule cannot aggregate."""


class PreconditionError(ValueError):
    """Too few updates for a rule and the number of malicious clients that it tolerates."""


@dataclass(frozen=True, kw_only=True)
class RuleCard:
    """Metadata of a rule: its paper, needs, cost and properties.

    The contract suite checks the flags on every registered rule.
    """

    paper: str
    needs: tuple[str, ...] = ()
    """Any of `byzantine`, `root data`, `root images`, `root labels`, `history`, `model`, `predictions`,
    `gradients`, `randomness`. `predictions` and `gradients` are those of any model on any input."""
    precondition: str = "n >= 1"
    cost: str = "O(n d)"
    deviations: str = ""
    """Differences to public implementations, and the variant that is the default here."""
    permutation_equivariant: bool = True
    """The order of clients does not matter. False if a rule shuffles clients or breaks ties by position."""
    unanimous: bool = True
    """n equal updates give that update."""
    translation_equivariant: bool = True
    """Adding c to every update adds c to the result."""
    scale_equivariant: bool = True
    """Multiplying every update by a > 0 multiplies the result by a."""
    rotation_equivariant: bool = False
    """Multiplying every update by an orthogonal matrix multiplies the result by it."""
    coordinate_wise: bool = False
    """A coordinate of the result depends on that coordinate of the updates alone."""
    mean_without_byzantine: bool = False
    """With `byzantine = 0` and equal weights, the result is the mean."""
    uses_weights: bool = False
    """The weights of the clients, such as their numbers of examples, change the result."""
    reports_trust: bool = True
    """Whether the trust of the result says which clients the rule used. False: a function of a user."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """Input of a rule beyond the updates of the round.

    Every field has a neutral default, so a rule also runs on a bare matrix.
    """

    round: int = 1
    client_ids: tuple[int, ...] | None = None
    """Client of each row. Rules with memory index it by client, not by row."""
    model: Tensor | None = None
    """Global weights before the round, (d,)."""
    layout: Layout | None = None
    """Names and shapes of the model's parameters, in the order of the d columns."""
    state: State = field(default_factory=dict)
    """State that the rule returned in the previous round."""
    generator: torch.Generator | None = None
    """Random generator of this rule in this round."""
    root_update: Callable[[], Tensor] | None = None
    """Function that trains on the server's root data as a client does and returns the update, (d,)."""
    root_images: Callable[[], Tensor] | None = None
    """Function that returns the images of the server's root data, (m, c, h, w), as `predict` takes them."""
    root_labels: Callable[[], Tensor] | None = None
    """Function that returns the labels of `root_images`, (m,) int64."""
    predict: Callable[[Tensor, Tensor], Tensor] | None = None
    """Function `predict(weights (d,), images (m, c, h, w)) -> logits (m, k)`."""
    gradient: Gradient | None = None
    """Function that differentiates the loss of a model on samples."""
    image_shape: tuple[int, ...] | None = None
    """Channels, height and width of an image, for rules that run models on noise."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Aggregate:
    """Aggregated update and the weight of every client in it."""

    update: Tensor
    """Aggregated update, (d,), in the dtype of the updates."""
    trust: Tensor
    """Weight of each client's update, (n,) float64. Weights are not negative and sum to at most 1. A client
    of weight 0 is rejected. Coordinate-wise rules return the average over the coordinates."""
    state: State = field(default_factory=dict)
    """State for the next round."""


class Stage(Protocol):
    """A rule or a pre-aggregator."""

    card: ClassVar[RuleCard]

    @property
    def minimum(self) -> int:
        """Smallest number of updates for which the stage is defined."""


@runtime_checkable
class Limited(Protocol):
    """A stage that some rounds of at least `minimum` updates do not suit."""

    def obstacle(self, clients: int, client_ids: Container[int] | None) -> str | None:
        """Return the error if `client_ids` (None: rows) cannot give `clients` updates that suit, or None."""


@runtime_checkable
class Anchored(Protocol):
    """A rule whose result stays near the update of one client that it trusts."""

    def trusted_client(self, client_ids: Sequence[int]) -> int | None:
        """Return the client that the rule trusts in a round with `client_ids`. None: it trusts no client."""


@runtime_checkable
class AggregationRule(Stage, Protocol):
    """Interface of aggregation rules: all that the server needs of a rule."""

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        """Aggregate `updates` as `Rule.__call__` does."""


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """Base class of aggregation rules: check the input of a round, then call the kernel `aggregate`.

    A rule is a frozen dataclass. Its fields are its parameters, and their defaults are the paper's. The
    contract suite checks these properties on every registered rule:

    - The rule does not write to its arguments. Its result shares no memory with them.
    - The same arguments give the same result, bit for bit, on any number of threads.
    - Trust is finite, not negative, and sums to at most 1.
    - The flags of the card are true: the order of clients does not matter, n equal updates give that update,
      and the other properties that the card claims.
    """

    card: ClassVar[RuleCard]
    search_space: ClassVar[Grid] = {}
    """Values that `fedpoison tune` tries, around those of the paper. Other parameters keep their value."""
    checks_values: ClassVar[bool] = False
    """Whether `aggregate` looks for NaN and infinity itself, in numbers that it computes from every value
    anyway (`finite_norms`, `refuse_non_finite`). The matrix is then read once less."""

    @property
    def minimum(self) -> int:
        """Smallest number of updates for which the rule is defined."""
        return 1

    @final
    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        """Aggregate the updates of a round.

        Args:
            updates: one row per client, (n, d).
            weights: weight of each client, such as its number of examples, (n,). Default: equal weights.
            context: further input. Default: an empty context.

        Raises:
            InputError: the matrix is not (n, d) floating point and finite, the weights do not fit, or the
                context lacks an input that the card needs. Or sums or products of large numbers overflow.
            PreconditionError: n is below `minimum`.
            TypeError: `aggregate` returns anything but an update (d,) and trust (n,).
        """
        updates = updates.detach()
        context = context or Context()
        shares = valid_shares(self, updates, weights, context.client_ids)
        if not self.checks_values:
            refuse_non_finite(updates)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # the result is checked
                result = checked_result(self, self.aggregate(updates, shares, context), updates)
        except (OverflowError, LinAlgError) as error:
            refuse_non_finite(updates)
            raise too_large(self, updates) from error
        if not bool(result.update.isfinite().all() and result.trust.isfinite().all()):
            refuse_non_finite(updates)
            raise too_large(self, updates)
        return result

    @abstractmethod
    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        """Aggregate checked updates (n, d), given the clients' shares (n,), float64, which sum to 1.

        The values are finite unless the rule sets `checks_values`.
        """


def require(stage: Stage, clients: int, client_ids: Container[int] | None = None) -> None:
    """Raise PreconditionError unless `stage` can aggregate this number of updates, of any of `client_ids`."""
    if clients < stage.minimum:
        relaxed = clients >= getattr(stage, "defined", stage.minimum)
        raise PreconditionError(
            f"{stage!r} needs {stage.card.precondition}: at least {stage.minimum} updates, got {clients}. "
            "Tolerate fewer malicious clients, or train more clients per round."
            + (" With strict=false, the rule runs without its guarantee." if relaxed else "")
        )
    obstacle = stage.obstacle(clients, client_ids) if isinstance(stage, Limited) else None
    if obstacle is not None:
        raise PreconditionError(obstacle)


def checked_result(rule: object, result: object, updates: Tensor) -> Aggregate:
    """Return the result of a rule for `updates` (n, d), or raise TypeError if it is no aggregate of them."""
    n, d = updates.shape
    shapes = [tuple(getattr(getattr(result, name, None), "shape", ())) for name in ("update", "trust")]
    if isinstance(result, Aggregate) and shapes == [(d,), (n,)]:
        return result
    raise TypeError(
        f"{type(rule).__module__}.{type(rule).__qualname__} returned {type(result).__name__} with update of "
        f"shape {shapes[0]} and trust of shape {shapes[1]}, expected Aggregate with ({d},) and ({n},)"
    )


def checked(stage: Stage, updates: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Check the input as `Rule` does, and return the updates and the shares (n,) of their clients."""
    updates = updates.detach()
    shares = valid_shares(stage, updates, weights)
    refuse_non_finite(updates)
    return updates, shares


def valid_shares(
    stage: Stage, updates: Tensor, weights: Tensor | None, client_ids: Container[int] | None = None
) -> Tensor:
    """Return the clients' shares (n,) as `checked` does, without a search for NaN and infinity."""
    if updates.ndim != 2 or not updates.is_floating_point():
        raise InputError(
            f"updates: got {updates.dtype} of shape {tuple(updates.shape)}, expected floating point (n, d)."
        )
    if not len(updates):
        raise InputError("updates: got no rows, expected at least one client's update.")
    require(stage, len(updates), client_ids)
    return as_shares(weights, updates)


def refuse_non_finite(updates: Tensor, evidence: Tensor | None = None) -> None:
    """Raise InputError if a row of `updates` (n, d) contains NaN or infinity.

    Args:
        updates: the matrix.
        evidence: numbers computed from every value of the matrix. If they are finite, the matrix is not read.
    """
    if bool(evidence.isfinite().all()) if evidence is not None else _finite(updates):
        return
    rows = (~torch.isfinite(updates).all(dim=1)).nonzero().flatten().tolist()
    if rows:
        raise InputError(
            f"updates: rows {rows} contain NaN or infinity, expected finite values. "
            "Drop these rows before the aggregation."
        )


def too_large(stage: Stage, updates: Tensor) -> InputError:
    """Return the error of `stage` for finite updates (n, d) whose sums or products overflow."""
    largest = float(updates.abs().max())
    return InputError(
        f"updates: {type(stage).__name__} overflows for {updates.dtype} values up to {largest:.3g}, expected "
        "smaller values. Drop the rows with the largest values, or scale the updates."
    )


def finite_norms(updates: Tensor) -> Tensor:
    """Return the Euclidean norms (n,), float64, of the rows of `updates` (n, d), or raise InputError.

    A norm is finite only if its row is finite, so the norms are also the check of the values.
    """
    norms = row_norms(updates)
    refuse_non_finite(updates, norms)
    return norms


def _finite(updates: Tensor) -> bool:
    # A sum takes one read and no memory. It may overflow, and only then is each value checked.
    def work(columns: slice) -> bool:
        block = updates[:, columns]
        return bool(block.sum().isfinite()) or bool(block.isfinite().all())

    return all(over_chunks(work, updates, values=STREAMED))


def as_shares(weights: Tensor | None, updates: Tensor) -> Tensor:
    """Return the weights of `updates` (n, d) as shares (n,), float64, that sum to 1. Default: equal shares.

    Raises:
        InputError: the weights are not n finite numbers, none negative and one positive.
    """
    n = len(updates)
    if weights is None:
        return torch.full((n,), 1 / n, dtype=torch.float64, device=updates.device)
    shares = weights.detach().to(device=updates.device, dtype=torch.float64)
    if shares.shape != (n,) or not bool(torch.isfinite(shares).all()) or bool((shares < 0).any()):
        raise InputError(f"weights: got {tuple(weights.shape)}, expected {n} finite numbers, none negative.")
    total = shares.sum()
    if not bool(total > 0):
        raise InputError("weights: got only zeros, expected at least one client with a positive weight.")
    return shares / total

"""What every aggregation rule is given, what it gives back, and the laws it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from strategies.chunks import STREAMED, over_chunks

State = Mapping[str, Tensor]
"""What a rule remembers from round to round: named tensors, so that a checkpoint needs no pickle."""


class InputError(ValueError):
    """The updates or weights handed to a rule are not what a rule can aggregate."""


class PreconditionError(ValueError):
    """A rule's theory does not cover this number of updates, for the tolerance it was built with."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Says where a rule comes from, what it needs, what it costs and which laws it keeps.

    The flags are claims that the contract suite checks on every registered rule.
    """

    paper: str
    needs: tuple[str, ...] = ()
    """Any of `byzantine`, `root data`, `history`, `model`, `randomness`."""
    precondition: str = "n >= 1"
    cost: str = "O(n d)"
    deviations: str = ""
    """Where public implementations differ, and which variant is the default here."""
    permutation_equivariant: bool = True
    """The order of clients does not matter; False where a rule shuffles or breaks ties by position."""
    unanimous: bool = True
    """n equal updates give that update."""
    translation_equivariant: bool = True
    """Moving every update by c moves the result by c."""
    scale_equivariant: bool = True
    """Multiplying every update by a > 0 multiplies the result by a."""
    rotation_equivariant: bool = False
    """Turning every update alike, by an orthogonal matrix, turns the result."""
    coordinate_wise: bool = False
    """Each coordinate of the result depends on that coordinate of the updates alone."""
    mean_without_byzantine: bool = False
    """With `byzantine = 0` and equal weights the result is the mean."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """Carries what a rule may know beyond the updates of the round.

    Every field has a neutral default, so that a rule can be tried on a bare matrix.
    """

    round: int = 1
    nodes: tuple[int, ...] | None = None
    """The node behind each row; rules with memory index it by node, not by position."""
    model: Tensor | None = None
    """The global weights that the updates start from, (d,)."""
    layout: tuple[tuple[str, torch.Size], ...] | None = None
    """Names and shapes of the parameters, in the order in which they fill the d columns."""
    state: State = field(default_factory=dict)
    """What the same rule returned as state in the previous round."""
    generator: torch.Generator | None = None
    """The random stream of this rule in this round."""
    root_update: Callable[[], Tensor] | None = None
    """Trains on the server's root data like a client and returns the update, (d,)."""
    predict: Callable[[Tensor, Tensor], Tensor] | None = None
    """`predict(weights (d,), images (m, c, h, w)) -> logits (m, k)`."""
    image_shape: tuple[int, int, int] | None = None
    """Channels, height and width of an image, for rules that probe models with noise."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Aggregate:
    """Holds the aggregated update and whom the rule believed."""

    update: Tensor
    """(d,), in the dtype of the updates."""
    trust: Tensor
    """(n,), float64: the weight that each client's update got. Never negative, sums to at most 1;
    0 means rejected. For coordinate-wise rules it is the average over the coordinates."""
    state: State = field(default_factory=dict)


class Stage(Protocol):
    """One stage of an aggregation that is given the updates of a round."""

    card: ClassVar[Card]

    @property
    def minimum(self) -> int:
        """The smallest number of updates for which the stage is defined."""


@runtime_checkable
class Rule(Stage, Protocol):
    """Turns the updates of a round into one update. A frozen dataclass whose fields are its knobs.

    Laws, checked on every registered rule by the contract suite:

    - the arguments are not written to, and what is returned shares no memory with them;
    - the same arguments give the same result, bit for bit, on any number of threads;
    - trust is finite, never negative, and sums to at most 1;
    - the card's flags are true: the order of clients does not matter, n equal updates give that update,
      and what else it declares.
    """

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        """Aggregate `updates` (n, d), given `weights` (n,) such as example counts.

        Raises:
            InputError: the matrix is not (n, d) floating point and finite, or the weights do not fit.
            PreconditionError: n is below `minimum`.
        """


def require(stage: Stage, clients: int) -> None:
    """Raise PreconditionError unless `stage` is defined for this number of updates."""
    if clients < stage.minimum:
        raise PreconditionError(
            f"{stage!r} needs {stage.card.precondition}: at least {stage.minimum} updates, got {clients}. "
            "Let it tolerate fewer malicious clients, or train more clients a round."
        )


def checked(stage: Stage, updates: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the updates and their weights as shares (n,) float64 that sum to 1, or raise.

    Raises:
        InputError: as `Rule.__call__` says.
        PreconditionError: likewise.
    """
    updates, shares = fitting(stage, updates, weights)
    refuse_non_finite(updates)
    return updates, shares


def fitting(stage: Stage, updates: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what `checked` does without looking for NaN and infinity.

    For rules that compute something from every value anyway: that is the evidence for `refuse_non_finite`,
    and the matrix is read once less.
    """
    if updates.ndim != 2 or not updates.is_floating_point():
        raise InputError(
            f"updates: got {updates.dtype} of shape {tuple(updates.shape)}, wanted floating point (n, d)."
        )
    if not len(updates):
        raise InputError("updates: got no rows, wanted at least one client's update.")
    require(stage, len(updates))
    return updates, as_shares(weights, updates)


def refuse_non_finite(updates: Tensor, evidence: Tensor | None = None) -> None:
    """Raise InputError if a row of `updates` (n, d) holds NaN or infinity.

    Args:
        updates: the matrix.
        evidence: what was computed from every value of it; the matrix is read only where this is not finite.
    """
    if bool(evidence.isfinite().all()) if evidence is not None else _finite(updates):
        return
    rows = (~torch.isfinite(updates).all(dim=1)).nonzero().flatten().tolist()
    if rows:
        raise InputError(f"updates: rows {rows} hold NaN or infinity; drop them before aggregating.")


def _finite(updates: Tensor) -> bool:
    def work(columns: slice) -> bool:
        block = updates[:, columns]
        return bool(block.sum().isfinite()) or bool(block.isfinite().all())

    return all(over_chunks(work, updates, values=STREAMED))


def as_shares(weights: Tensor | None, updates: Tensor) -> Tensor:
    """Return the weights of `updates` (n, d) as shares (n,), float64, that sum to 1; equal ones for None.

    Raises:
        InputError: the weights are not n finite numbers, none negative and one positive.
    """
    n = len(updates)
    if weights is None:
        return torch.full((n,), 1 / n, dtype=torch.float64, device=updates.device)
    shares = weights.to(device=updates.device, dtype=torch.float64)
    if shares.shape != (n,) or not bool(torch.isfinite(shares).all()) or bool((shares < 0).any()):
        raise InputError(f"weights: got {tuple(weights.shape)}, wanted {n} finite numbers, none negative.")
    total = shares.sum()
    if not bool(total > 0):
        raise InputError("weights: all are 0, wanted at least one client with a positive weight.")
    return shares / total


def tolerated(byzantine: int) -> None:
    """Raise ValueError unless the knob `byzantine` is a count."""
    if byzantine < 0:
        raise ValueError(f"byzantine: got {byzantine}, wanted the number of tolerated clients, 0 or more.")

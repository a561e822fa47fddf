"""The check of a round's updates, and their lengths, in one reading of the matrix."""

from __future__ import annotations

from torch import Tensor

from strategies.distances import row_norms
from strategies.rule import Stage, fitting, refuse_non_finite


def checked_norms(stage: Stage, updates: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the shares (n,) and the norms (n,) of the updates, both float64, or raise as `checked` does.

    A norm is finite only if its whole row is: so the norms are the check.
    """
    _, shares = fitting(stage, updates, weights)
    norms = row_norms(updates)
    refuse_non_finite(updates, norms)
    return shares, norms

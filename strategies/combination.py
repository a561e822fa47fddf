"""Weighted sums of updates: the last step of every rule that works through inner products."""

from __future__ import annotations

from torch import Tensor

from strategies.rule import Aggregate, State


def combine(coefficients: Tensor, updates: Tensor) -> Tensor:
    """Return `coefficients @ updates` (d,), for coefficients (n,) in float64.

    Rows with coefficient 0 are not read.

    >>> import torch
    >>> combine(torch.tensor([0.5, 0.0, 0.5]), torch.tensor([[1.0], [9.0], [3.0]]))
    tensor([2.])
    """
    kept = coefficients.nonzero().flatten()
    if len(kept) == 1:
        return updates[kept[0]] * coefficients[kept[0]].to(updates.dtype)
    if len(kept) < len(coefficients):
        updates, coefficients = updates[kept], coefficients[kept]
    return coefficients.to(updates.dtype) @ updates


def weighted(coefficients: Tensor, updates: Tensor, state: State | None = None) -> Aggregate:
    """Return the aggregate of a rule whose result is a weighted sum: the weights are the trust."""
    return Aggregate(update=combine(coefficients, updates), trust=coefficients.double(), state=state or {})


def mean_of(rows: Tensor, updates: Tensor) -> Aggregate:
    """Return the aggregate of a rule that averages the selected `rows` (m,) and rejects the rest."""
    coefficients = updates.new_zeros(len(updates)).double()
    coefficients[rows] = 1 / len(rows)
    return weighted(coefficients, updates)

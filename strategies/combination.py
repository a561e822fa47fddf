"""Weighted sums of updates: the last step of every rule that works through inner products."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from strategies.chunks import CACHED, STREAMED, over_chunks
from strategies.rule import Aggregate, State

FEW = 0.25
"""Up to this share of rows is copied out of the matrix; beyond it, reading the others too costs less."""


def combine(coefficients: Tensor, updates: Tensor) -> Tensor:
    """Return `coefficients @ updates` (d,), for coefficients (n,) in float64.

    >>> import torch
    >>> combine(torch.tensor([0.5, 0.0, 0.5]), torch.tensor([[1.0], [9.0], [3.0]]))
    tensor([2.])
    """
    kept = coefficients.nonzero().flatten()
    if len(kept) == 1:
        return updates[int(kept)] * coefficients[kept].to(updates.dtype)
    few = len(kept) < FEW * len(coefficients)
    factors = (coefficients[kept] if few else coefficients).to(updates.dtype)
    result = updates.new_empty(updates.shape[1])

    def work(columns: slice) -> None:
        block = updates[:, columns]
        result[columns] = factors @ (block[kept] if few else block)

    over_chunks(work, updates, values=CACHED if few else STREAMED)  # a selection is copied first
    return result


def mixed(coefficients: Tensor, updates: Tensor) -> Tensor:
    """Return `coefficients @ updates` (m, d): rows mixed from updates, for coefficients (m, n) in float64.

    Equal rows of coefficients give rows that are equal to the last bit.

    >>> import torch
    >>> mixed(torch.tensor([[0.5, 0.5], [0.0, 2.0]]), torch.tensor([[1.0], [3.0]]))
    tensor([[2.],
            [6.]])
    """
    factors = coefficients.to(updates.dtype)
    result = _matrix(len(factors), updates)
    diagonal = factors.diagonal()
    scales = factors.shape[0] == factors.shape[1] and torch.equal(factors, diagonal.diag())
    different, which = factors.unique(dim=0, return_inverse=True)
    repeats = len(different) < len(factors)

    def work(columns: slice) -> None:
        block, rows = updates[:, columns], result[:, columns]
        if scales:
            torch.mul(block, diagonal[:, None], out=rows)
        elif repeats:
            rows.copy_((different @ block)[which])
        else:
            torch.mm(factors, block, out=rows)

    over_chunks(work, updates)
    return result


def _matrix(rows: int, updates: Tensor) -> Tensor:
    """Return a new matrix (rows, d) like `updates`; NumPy asks for large pages, which are quicker to get."""
    shape = rows, updates.shape[1]
    if updates.device.type != "cpu" or updates.dtype == torch.bfloat16:
        return updates.new_empty(shape)
    return torch.from_numpy(np.empty(shape, updates.detach().numpy().dtype))


def weighted(coefficients: Tensor, updates: Tensor, state: State | None = None) -> Aggregate:
    """Return the aggregate of a rule whose result is a weighted sum: the weights are the trust."""
    return Aggregate(update=combine(coefficients, updates), trust=coefficients.double(), state=state or {})


def mean_of(rows: Tensor, updates: Tensor) -> Aggregate:
    """Return the aggregate of a rule that averages the selected `rows` (m,) and rejects the rest."""
    coefficients = updates.new_zeros(len(updates)).double()
    coefficients[rows] = 1 / len(rows)
    return weighted(coefficients, updates)

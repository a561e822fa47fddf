"""Combinations of updates and the trust that belongs to them: the last step of most rules."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from strategies.base import Aggregate, State
from strategies.kernels.columns import CACHED, STREAMED, over_chunks
from strategies.kernels.order_statistics import Reader, over_sorted_columns

FEW = 0.25
"""Largest share of rows that is copied out of the matrix. Beyond it, a product with all rows costs less, even
though most coefficients are 0."""

LEAST_SHARE = 1e-9
"""Smallest coefficient that is recognised as 1/m."""


def combine(coefficients: Tensor, updates: Tensor) -> Tensor:
    """Return `coefficients @ updates` (d,), for coefficients (n,) in float64.

    If all coefficients but zeros are 1/m, the rows are added first, and the sum is divided by m once, so that
    the mean of 1, 4 and 7 is exactly 4. If a sum overflows, it is computed again in float64.

    >>> import torch
    >>> combine(torch.tensor([0.5, 0.0, 0.5]), torch.tensor([[1.0], [9.0], [3.0]]))
    tensor([2.])
    """
    kept = coefficients.nonzero().flatten()
    if len(kept) == 1:
        return updates[int(kept)] * coefficients[kept].to(updates.dtype)
    few = len(kept) < FEW * len(coefficients)
    factors = (coefficients[kept] if few else coefficients).to(updates.dtype)
    divisor = _divisor(coefficients[kept])
    ones = (factors != 0).to(factors)
    result = updates.new_empty(updates.shape[1])

    def work(columns: slice) -> None:
        block = updates[:, columns]
        rows = block[kept] if few else block
        part = factors @ rows if divisor is None else (ones @ rows).div_(divisor)
        if not bool(part.isfinite().all()):
            part = (coefficients[kept] if few else coefficients).double() @ rows.double()
        result[columns] = part

    # Selected rows are copied before the product, and the copy should stay in the cache. All rows together
    # are read once from memory, where long runs are faster.
    over_chunks(work, updates, values=CACHED if few else STREAMED)
    return result


def _divisor(coefficients: Tensor) -> int | None:
    """Return m if all coefficients (k,) are 1/m, otherwise None."""
    if not len(coefficients) or not bool((coefficients == coefficients[0]).all()):
        return None
    share = float(coefficients[0])
    divisor = round(1 / share) if share > LEAST_SHARE else 0
    return divisor if divisor and 1 / divisor == share else None


def mixed(coefficients: Tensor, updates: Tensor) -> Tensor:
    """Return `coefficients @ updates` (m, d), rows mixed from updates, for coefficients (m, n) in float64.

    Equal rows of coefficients give rows that are equal to the last bit.

    >>> import torch
    >>> mixed(torch.tensor([[0.5, 0.5], [0.0, 2.0]]), torch.tensor([[1.0], [3.0]]))
    tensor([[2.],
            [6.]])
    """
    factors = coefficients.to(updates.dtype)
    result = _matrix(len(factors), updates)
    # Clipping only scales rows, without a product of matrices. Equal rows of coefficients are computed once,
    # because a product of matrices may round two equal rows differently.
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
    """Return a new matrix (rows, d) like `updates`. NumPy allocates large pages, which is faster."""
    shape = rows, updates.shape[1]
    if updates.device.type != "cpu" or updates.dtype == torch.bfloat16:
        return updates.new_empty(shape)
    return torch.from_numpy(np.empty(shape, updates.detach().numpy().dtype))


def weighted(coefficients: Tensor, updates: Tensor, state: State | None = None) -> Aggregate:
    """Return the weighted sum of the updates, with the coefficients (n,) as trust."""
    return Aggregate(update=combine(coefficients, updates), trust=coefficients.double(), state=state or {})


def mean_of(rows: Tensor, updates: Tensor) -> Aggregate:
    """Return the mean of the selected `rows` (m,) of the updates. The other clients are rejected."""
    coefficients = updates.new_zeros(len(updates)).double()
    coefficients[rows] = 1 / len(rows)
    return weighted(coefficients, updates)


def mean_of_lowest(scores: Tensor, kept: int, updates: Tensor) -> Aggregate:
    """Return the mean of the `kept` updates with the lowest scores (n,); of equal scores, the first ones."""
    return mean_of(scores.sort(stable=True).indices[:kept], updates)


def coordinate_wise(updates: Tensor, reader: Reader) -> Aggregate:
    """Return the result of `reader` on the sorted columns. The trust is the share of values used."""
    update, kept = over_sorted_columns(updates, reader)
    return Aggregate(update=update, trust=kept / kept.sum())


def clip_factors(norms: Tensor, bound: float | Tensor) -> Tensor:
    """Return the factors (n,) that clip rows of these `norms` (n,) to `bound`.

    >>> clip_factors(torch.tensor([0.0, 1.0, 4.0]), 2.0)
    tensor([1.0000, 1.0000, 0.5000])
    """
    return torch.where(norms > bound, bound / norms, 1.0)

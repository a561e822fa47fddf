"""The largest coordinates of every update."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor


def dropped_of(sparsity: float, d: int) -> int:
    """Return how many of d coordinates a share `sparsity` of the smallest ones drops, less than d.

    >>> dropped_of(0.5, 5), dropped_of(0.99, 1)
    (2, 0)
    """
    return min(int(sparsity * d), d - 1)


def least_kept(updates: Tensor, dropped: int) -> Tensor:
    """Return the smallest absolute value of each row of `updates` (n, d) that is kept, (n,).

    Args:
        updates: the matrix.
        dropped: number of coordinates of each row, those of smallest absolute value, that are not kept, less
            than d. If values are equal, more are kept.

    >>> least_kept(torch.tensor([[1.0, -3.0, 2.0]]), 1)
    tensor([2.])
    """
    if updates.device.type != "cpu":
        return updates.abs().kthvalue(dropped + 1, dim=1).values

    # NumPy's partition is faster than torch's kthvalue, and releases the lock of the interpreter.
    def least(row: Tensor) -> float:
        values = row.abs() if row.dtype != torch.bfloat16 else row.abs().float()  # unknown to NumPy
        return float(np.partition(values.numpy(), dropped)[dropped])

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return torch.tensor(list(pool.map(least, updates)), dtype=updates.dtype)


def sparse(block: Tensor, least: Tensor) -> Tensor:
    """Return `block` (n, c) with the values below the `least` kept value of each row (n,) set to 0.

    >>> sparse(torch.tensor([[1.0, -3.0, 2.0]]), torch.tensor([2.0]))
    tensor([[ 0., -3.,  2.]])
    """
    return (block.abs() >= least[:, None]).to(block.dtype).mul_(block)

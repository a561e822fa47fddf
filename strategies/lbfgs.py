"""Products with the Hessian that L-BFGS infers from a few steps and the changes they brought."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.chunks import sum_over_chunks
from strategies.one_thread import one_thread


def hessian_product(steps: Tensor, changes: Tensor, vector: Tensor) -> Tensor:
    """Return the L-BFGS approximation of the Hessian times `vector`, (d,), in the dtype of `vector`.

    Byrd, Nocedal, Schnabel, "Representations of Quasi-Newton Matrices and Their Use in Limited Memory
    Methods", Mathematical Programming 1994: the compact form.

    Args:
        steps: (m, d), how the weights moved, the oldest first; the last is not 0.
        changes: (m, d), how the gradient changed with each step.
        vector: (d,).

    >>> hessian_product(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([2.0, 1.0]))
    tensor([6., 3.])
    """
    m = len(steps)

    def work(columns: slice) -> Tensor:
        block = torch.cat([steps[:, columns], changes[:, columns], vector[None, columns]]).double()
        return block @ block.T

    products = sum_over_chunks(work, steps, (2 * m + 1, 2 * m + 1))
    both = products[:m, m : 2 * m]
    scale = both[-1, -1] / products[m - 1, m - 1]
    lower = both.tril(-1)
    compact = torch.cat(
        [
            torch.cat([scale * products[:m, :m], lower], dim=1),
            torch.cat([lower.T, -both.diagonal().diag()], dim=1),
        ]
    )
    right = torch.cat([scale * products[:m, -1], products[m : 2 * m, -1]])
    with one_thread():
        parts = (torch.linalg.pinv(compact, hermitian=True) @ right).to(vector.dtype)
    scale = scale.to(vector.dtype)
    product: Tensor = scale * vector - (scale * parts[:m]) @ steps - parts[m:] @ changes
    return product

"""Votes of the clients on the sign of every coordinate."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.kernels.columns import over_chunks, sum_over_chunks


def sign_votes(updates: Tensor) -> Tensor:
    """Return the sum of the signs of every coordinate, (d,) float32, for updates (n, d).

    >>> sign_votes(torch.tensor([[1.0, -2.0], [5.0, 3.0], [0.1, 0.0]]))
    tensor([3., 0.])
    """
    voters = torch.ones(len(updates), device=updates.device)
    votes = torch.empty(updates.shape[1], device=updates.device)

    def work(columns: slice) -> None:
        votes[columns] = voters @ updates[:, columns].sign().float()

    over_chunks(work, updates)
    return votes


def agreement(updates: Tensor, direction: Tensor) -> Tensor:
    """Return the number of coordinates in which each update has the sign of `direction` (d,), (n,) float64.

    Coordinates in which either is 0 do not count.

    >>> agreement(torch.tensor([[1.0, -2.0, 0.0], [-5.0, -3.0, 2.0]]), torch.tensor([2.0, -1.0, 0.0]))
    tensor([2., 1.], dtype=torch.float64)
    """

    def work(columns: slice) -> Tensor:
        signs, reference = updates[:, columns].sign().float(), direction[columns].sign().float()
        surplus = signs @ reference  # coordinates that agree minus coordinates that do not
        return (surplus + signs.abs_() @ reference.abs()) / 2

    return sum_over_chunks(work, updates, (len(updates),))

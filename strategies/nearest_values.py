"""The mean of the values nearest to a centre, which Meamed, Phocas and Bulyan share."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.order_statistics import shares_within


def mean_of_nearest(ordered: Tensor, values: Tensor, centre: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Return the mean (c,) of the values nearest to the centre, and how often each client's was kept (n,).

    Of two values at the same distance the smaller one is kept.

    Args:
        ordered: (c, n), one row per coordinate, sorted.
        values: (c, n), the same in the order of the clients.
        centre: (c,)
        kept: how many values to average, 1 to n.

    >>> row = torch.tensor([[0.0, 2.0, 3.0, 9.0]])
    >>> mean_of_nearest(row, row, torch.tensor([2.5]), kept=3)
    (tensor([1.6667]), tensor([1., 1., 1., 0.], dtype=torch.float64))
    """
    first = _first_kept(ordered, centre[:, None], kept)[:, 0]
    c, n = ordered.shape
    windows = ordered.contiguous().as_strided((c * n - kept + 1, kept), (1, 1))
    nearest = windows.index_select(0, first + n * torch.arange(c, device=first.device))
    return nearest.mean(dim=1), shares_within(values, nearest[:, 0], nearest[:, -1])


def _first_kept(ordered: Tensor, centre: Tensor, kept: int) -> Tensor:
    """Return where the window of the `kept` values (c, n) nearest to `centre` (c, 1) begins, (c, 1).

    It begins at the left and moves on for as long as the value that comes in is nearer than the one that
    goes out. Once it stays it would always stay, so how far it moves is found by bisection.
    """
    dropped = ordered.shape[1] - kept
    first = torch.zeros(len(ordered), 1, dtype=torch.int64, device=ordered.device)
    step = 1 << dropped.bit_length() >> 1
    while step:
        tried = first + (step - 1)
        out = tried.clamp(max=dropped - 1)
        nearer = ordered.gather(1, out + kept) - centre < centre - ordered.gather(1, out)
        first += step * (nearer & (tried < dropped))
        step >>= 1
    return first

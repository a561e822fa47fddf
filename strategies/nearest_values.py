"""The mean of the values nearest to a centre, for Meamed, Phocas and Bulyan."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.order_statistics import shares_within


def mean_of_nearest(ordered: Tensor, values: Tensor, centre: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Return the mean (c,) of the values nearest to the centre, and the kept values per client (n,).

    Of two values at the same distance, the smaller one is kept.

    Args:
        ordered: (c, n), one row per coordinate, sorted.
        values: (c, n), in the order of the clients.
        centre: (c,)
        kept: number of values to average, 1 to n.

    >>> row = torch.tensor([[0.0, 2.0, 3.0, 9.0]])
    >>> mean_of_nearest(row, row, torch.tensor([2.5]), kept=3)
    (tensor([1.6667]), tensor([1., 1., 1., 0.], dtype=torch.float64))
    """
    first = _first_kept(ordered, centre[:, None], kept)[:, 0]
    c, n = ordered.shape
    # The kept values are neighbours in the sorted row. A strided view of all windows of that length lets one
    # gather copy them, without an index for every value.
    windows = ordered.contiguous().as_strided((c * n - kept + 1, kept), (1, 1))
    nearest = windows.index_select(0, first + n * torch.arange(c, device=first.device))
    return nearest.mean(dim=1), shares_within(values, nearest[:, 0], nearest[:, -1])


def _first_kept(ordered: Tensor, centre: Tensor, kept: int) -> Tensor:
    """Return the start of the window of the `kept` values (c, n) nearest to `centre` (c, 1), (c, 1).

    The window starts at the left and moves on while the value that enters is nearer than the value that
    leaves. After its first stop it never moves again, so bisection finds how far it moves.
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

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
    # The nearest values are a window of the sorted ones. It holds one value of each column modulo `kept`;
    # it starts at the leftmost column and moves on for as long as the value that comes in is nearer than
    # the one that goes out.
    dropped = ordered.shape[1] - kept
    nearest = ordered[:, :kept].clone()
    first = torch.zeros(len(ordered), 1, dtype=torch.int64, device=ordered.device)
    for start in range(0, dropped, kept):
        stop = min(start + kept, dropped)
        out, into = ordered[:, start:stop], ordered[:, start + kept : stop + kept]
        moves = into - centre[:, None] < centre[:, None] - out
        nearest[:, : stop - start] = torch.where(moves, into, nearest[:, : stop - start])
        first += moves.sum(dim=1, keepdim=True)
    low, high = ordered.gather(1, first), ordered.gather(1, first + kept - 1)
    return nearest.mean(dim=1), shares_within(values, low[:, 0], high[:, 0])

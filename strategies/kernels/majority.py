"""The client that stands for a majority: a median of vectors that needs only their distances."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.kernels.distances import squared_distances


def majority_centre(rows: Tensor, needed: int) -> tuple[Tensor, Tensor]:
    """Return the row whose `needed` nearest rows, itself included, are nearest, and their largest distance.

    If a row has `needed` rows within a threshold, this row has them too. Of rows with the same distance, the
    one with the smaller sum of distances to all rows is returned, so that the order of the rows does not
    matter.

    Args:
        rows: vectors, (n, d).
        needed: number of rows, 1 to n.

    Returns:
        The distances of all rows from this row, (n,), float64, and the largest distance of the `needed`
        nearest, (), float64.

    Raises:
        OverflowError: a distance is not finite.

    >>> line = torch.tensor([[0.0], [1.0], [3.0], [50.0]])
    >>> majority_centre(line, 3)
    (tensor([ 1.,  0.,  2., 49.], dtype=torch.float64), tensor(2., dtype=torch.float64))
    """
    squared = squared_distances(rows)
    if not bool(squared.isfinite().all()):
        raise OverflowError("the squared distances overflow")
    distances = squared.sqrt()
    radii = distances.sort(dim=1).values[:, needed - 1]
    sums = distances.sort(dim=1).values.sum(dim=1)  # the same sum in any order of the rows
    centre = int(sums.masked_fill(radii > radii.min(), torch.inf).argmin())
    return distances[centre], radii[centre]

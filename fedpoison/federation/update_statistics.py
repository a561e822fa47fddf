"""Statistics of the updates of one round: norms, and distances from the honest mean."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from strategies.kernels.columns import sum_over_chunks
from strategies.kernels.distances import LARGEST, LEAST


@dataclass(frozen=True, eq=False)
class UpdateStatistics:
    """Update statistics of one round, by client."""

    norms: dict[int, float]
    """Euclidean norm of each update."""
    distances: dict[int, float]
    """Euclidean distance of each update from the honest mean. Empty without honest updates."""
    cosines: dict[int, float]
    """Cosine of each update with the honest mean, if neither is zero."""


def update_statistics(
    updates: Tensor, client_ids: Sequence[int], honest: Collection[int]
) -> UpdateStatistics:
    """Compare each client's update with the unweighted mean of the honest updates.

    >>> sent = torch.tensor([[1.0, 0.0], [3.0, 0.0], [-2.0, 0.0]])
    >>> update_statistics(sent, client_ids=[0, 1, 2], honest=[0, 1])
    UpdateStatistics(norms={0: 1.0, 1: 3.0, 2: 2.0}, distances={0: 1.0, 1: 1.0, 2: 4.0}, \
cosines={0: 1.0, 1: 1.0, 2: -1.0})

    Args:
        updates: Updates (n, d): the clients' weights minus the global weights before the round.
        client_ids: Client of each row.
        honest: Clients whose updates form the mean.
    """
    if not client_ids:
        return UpdateStatistics({}, {}, {})
    rows = torch.tensor(
        [row for row, client_id in enumerate(client_ids) if client_id in honest], dtype=torch.int64
    )
    sums = _sums(updates, rows, updates.dtype)
    squares = sums[:2]
    in_range = (squares == 0) | ((squares > LEAST) & (squares < LARGEST))
    if not bool(in_range.all() and squares.any()):  # squares of huge and tiny updates overflow in float32
        sums = _sums(updates, rows, torch.float64)
    norms, distances, dots = sums.cpu().tolist()
    mean_norm = math.sqrt(norms.pop())
    result = UpdateStatistics({}, {}, {})
    for client_id, squared, distance, dot in zip(client_ids, norms, distances[:-1], dots[:-1], strict=True):
        norm = math.sqrt(squared)
        result.norms[client_id] = norm
        if len(rows):
            result.distances[client_id] = math.sqrt(distance)
        if mean_norm and norm:
            cosine = dot / (mean_norm * norm)
            if math.isfinite(cosine):
                result.cosines[client_id] = min(1.0, max(-1.0, cosine))
    return result


def _sums(updates: Tensor, honest: Tensor, dtype: torch.dtype) -> Tensor:
    """Return squared norms, squared distances from the honest mean and dot products with it, (3, n + 1).

    The first row of the last column is the squared norm of the mean. Without honest rows, the mean is zero.
    """
    n = len(updates)
    shares = torch.zeros(n, dtype=dtype, device=updates.device)
    shares[honest.to(updates.device)] = 1 / max(1, len(honest))

    def work(columns: slice) -> Tensor:
        block = updates[:, columns].to(dtype)
        mean = shares @ block
        sums = torch.zeros(3, n + 1, dtype=torch.float64, device=updates.device)
        sums[0, :n], sums[0, n] = _squares(block), mean @ mean
        sums[1, :n] = _squares(block - mean)
        sums[2, :n] = block @ mean
        return sums

    return sum_over_chunks(work, updates, (3, n + 1))


def _squares(rows: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return lengths.square()

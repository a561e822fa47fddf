"""How far the updates of a round lie from what honest nodes send."""

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
    """What the updates of a round measure, by node."""

    norms: dict[int, float]
    """The Euclidean norm of each update."""
    distances: dict[int, float]
    """Its Euclidean distance from the honest mean; empty without honest updates."""
    cosines: dict[int, float]
    """Its cosine with the honest mean; left out where one of the two is zero."""


def update_statistics(
    updates: Tensor, client_ids: Sequence[int], honest: Collection[int]
) -> UpdateStatistics:
    """Return how each node's update compares with the plain mean of the honest ones.

    >>> sent = torch.tensor([[1.0, 0.0], [3.0, 0.0], [-2.0, 0.0]])
    >>> update_statistics(sent, client_ids=[0, 1, 2], honest=[0, 1])
    UpdateStatistics(norms={0: 1.0, 1: 3.0, 2: 2.0}, distances={0: 1.0, 1: 1.0, 2: 4.0}, \
cosines={0: 1.0, 1: 1.0, 2: -1.0})

    Args:
        updates: (n, d), what the nodes sent, less what they started from.
        client_ids: the node behind each row.
        honest: the nodes whose updates make the mean.
    """
    if not client_ids:
        return UpdateStatistics({}, {}, {})
    rows = torch.tensor(
        [row for row, client_id in enumerate(client_ids) if client_id in honest], dtype=torch.int64
    )
    found = _measured(updates, rows, updates.dtype)
    squares = found[:2]
    held = (squares == 0) | ((squares > LEAST) & (squares < LARGEST))
    if not bool(held.all() and squares.any()):  # float32 does not hold the squares of huge and tiny updates
        found = _measured(updates, rows, torch.float64)
    norms, distances, dots = found.cpu().tolist()
    length = math.sqrt(norms.pop())
    result = UpdateStatistics({}, {}, {})
    for client_id, squared, apart, dot in zip(client_ids, norms, distances[:-1], dots[:-1], strict=True):
        norm = math.sqrt(squared)
        result.norms[client_id] = norm
        if len(rows):
            result.distances[client_id] = math.sqrt(apart)
        if length and norm:
            cosine = dot / (length * norm)
            if math.isfinite(cosine):
                result.cosines[client_id] = min(1.0, max(-1.0, cosine))
    return result


def _measured(updates: Tensor, honest: Tensor, dtype: torch.dtype) -> Tensor:
    """Return squared norms, squared distances from the honest mean and products with it, (3, n + 1).

    The last column holds the mean's own squared norm, on top. Without honest rows the mean is zero.
    """
    n = len(updates)
    shares = torch.zeros(n, dtype=dtype, device=updates.device)
    shares[honest.to(updates.device)] = 1 / max(1, len(honest))

    def work(columns: slice) -> Tensor:
        block = updates[:, columns].to(dtype)
        mean = shares @ block
        found = torch.zeros(3, n + 1, dtype=torch.float64, device=updates.device)
        found[0, :n], found[0, n] = _squares(block), mean @ mean
        found[1, :n] = _squares(block - mean)
        found[2, :n] = block @ mean
        return found

    return sum_over_chunks(work, updates, (3, n + 1))


def _squares(rows: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return lengths.square()

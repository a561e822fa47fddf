"""How far the updates of a round lie from what honest nodes send."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Deviations:
    """What the updates of a round measure, by node."""

    norms: dict[int, float]
    """The Euclidean norm of each update."""
    distances: dict[int, float]
    """Its Euclidean distance from the honest mean; empty without honest updates."""
    cosines: dict[int, float]
    """Its cosine with the honest mean; left out where one of the two is zero."""


def deviations(weights: Mapping[int, Tensor], model: Tensor, honest: Collection[int]) -> Deviations:
    """Return how each node's update compares with the plain mean of the honest ones.

    >>> sent = {0: torch.tensor([1.0, 1.0]), 1: torch.tensor([3.0, 1.0]), 2: torch.tensor([-2.0, 1.0])}
    >>> deviations(sent, torch.tensor([0.0, 1.0]), honest=[0, 1])
    Deviations(norms={0: 1.0, 1: 3.0, 2: 2.0}, distances={0: 1.0, 1: 1.0, 2: 4.0}, \
cosines={0: 1.0, 1: 1.0, 2: -1.0})

    Args:
        weights: the weights (d,) that each node sent.
        model: the weights (d,) that they started from.
        honest: the nodes whose updates make the mean.
    """
    mean = torch.zeros_like(model)
    for node in sorted(honest):
        mean += weights[node] - model
    mean /= max(1, len(honest))
    length = _norm(mean)
    norms, distances, cosines = {}, {}, {}
    for node, sent in weights.items():
        update = sent - model
        norms[node] = _norm(update)
        if honest:
            distances[node] = _norm(update - mean)
        if length and norms[node]:
            cosine = float(torch.dot(update, mean)) / (length * norms[node])
            if math.isfinite(cosine):  # the product of huge updates is not
                cosines[node] = min(1.0, max(-1.0, cosine))
    return Deviations(norms, distances, cosines)


def _norm(vector: Tensor) -> float:
    norm = float(torch.linalg.vector_norm(vector))
    return norm if math.isfinite(norm) else float(torch.linalg.vector_norm(vector, dtype=torch.float64))

"""SMEA: smallest maximal eigenvalue averaging."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard
from strategies.kernels.columns import one_thread
from strategies.kernels.distances import squared_distances
from strategies.kernels.weighted_sums import mean_of
from strategies.parameters import positive
from strategies.tolerance import RelaxableRule

BATCH = 2048
"""Number of subsets whose eigenvalues are computed together."""


@dataclass(frozen=True, kw_only=True)
class SMEA(RelaxableRule):
    """Average the n - f updates whose covariance has the smallest top eigenvalue.

    Allouah, Guerraoui, Gupta, Pinot, Stephan, "On the Privacy-Robustness-Utility Trilemma in Distributed
    Learning", ICML 2023. All subsets are tried, with the distances only. Of subsets of equal eigenvalue, the
    first one in the order of the clients is averaged.

    Raises:
        PreconditionError: there are more subsets than `subsets`.

    >>> import torch
    >>> SMEA(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [90.0]])).update
    tensor([2.])
    """

    subsets: int = 100_000
    """Largest number of subsets to try. 25 clients with 5 malicious ones have 53,130 subsets."""

    card: ClassVar = RuleCard(
        paper="Allouah et al., ICML 2023",
        needs=("byzantine",),
        precondition="n > 2f",
        cost="O(n^2 d + C(n, f) n^3)",
        deviations="Exact eigenvalues; ByzFL takes one step of power iteration from a random start.",
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(subsets=self.subsets)

    def obstacle(self, clients: int, client_ids: Container[int] | None) -> str | None:
        if math.comb(clients, self.byzantine) <= self.subsets:
            return None
        return (
            f"{self!r} needs more than {self.subsets:,} subsets of {clients} updates. Raise `subsets`, "
            "tolerate fewer malicious clients, or use caf, which filters by the same eigenvalue."
        )

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n = len(updates)
        squared = squared_distances(updates)
        if not bool(squared.isfinite().all()):
            raise OverflowError("the squared distances overflow")
        best, smallest = torch.arange(n, device=updates.device), math.inf
        for batch in self._batches(n):
            tried = torch.tensor(batch, device=updates.device)
            values = top_eigenvalues(squared, tried)
            first = int(values.argmin())
            if float(values[first]) < smallest:
                best, smallest = tried[first], float(values[first])
        return mean_of(best, updates)

    def _batches(self, n: int) -> Iterator[list[tuple[int, ...]]]:
        subsets = combinations(range(n), n - self.byzantine)
        while batch := list(islice(subsets, BATCH)):
            yield batch


def top_eigenvalues(squared: Tensor, subsets: Tensor) -> Tensor:
    """Return the largest eigenvalue of the covariance of each subset's rows, (s,).

    Args:
        squared: squared distances between all rows, (n, n) float64.
        subsets: the rows in each subset, (s, m).
    """
    inner = squared[subsets[:, :, None], subsets[:, None, :]] / -2
    inner = inner - inner.mean(dim=1, keepdim=True)
    inner = inner - inner.mean(dim=2, keepdim=True)
    with one_thread():
        largest: Tensor = torch.linalg.eigvalsh(inner)[:, -1]
    return largest / subsets.shape[1]

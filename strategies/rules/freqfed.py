"""FreqFed: keep the majority by the low frequencies of the updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.clusters import majority_cluster
from strategies.kernels.distances import cosine_distances, lengths_and_cosines
from strategies.kernels.weighted_sums import weighted
from strategies.parameters import fraction


@dataclass(frozen=True, kw_only=True)
class FreqFed(Rule):
    """Average the updates in HDBSCAN's majority cluster of their low frequencies.

    Fereidooni, Pegoraro, Rieger, Dmitrienko, Sadeghi, "FreqFed: A Frequency Analysis-Based Approach for
    Mitigating Poisoning Attacks in Federated Learning", NDSS 2024. The discrete cosine transform of an update
    gives its frequencies. HDBSCAN clusters the clients by the cosine distances of the low ones. If there is
    no cluster of more than half of the clients, the model does not change.
    """

    low: float = 0.5
    """Share of the frequencies that are compared, the lowest ones."""

    search_space: ClassVar = {"low": (0.1, 0.25, 0.5, 1.0)}
    card: ClassVar = RuleCard(
        paper="Fereidooni et al., NDSS 2024",
        cost="O(n^2 d + n d log d)",
        deviations="The transform is of the flat update; the paper transforms each parameter tensor. Public "
        "implementations do either. The smallest cluster is a majority, as in FLAME.",
        translation_equivariant=False,
    )

    def __post_init__(self) -> None:
        fraction(low=self.low)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        _, angles = lengths_and_cosines(low_frequencies(updates, self.low))
        kept = majority_cluster(cosine_distances(angles)).double()
        return weighted(kept / kept.sum().clamp(min=1), updates)


def low_frequencies(updates: Tensor, share: float) -> Tensor:
    """Return the first `share` of the discrete cosine transform (n, c), float64, of `updates` (n, d).

    The transform is orthonormal.

    >>> low_frequencies(torch.tensor([[1.0, 1.0, 1.0, 1.0]]), 0.5).round(decimals=3)
    tensor([[2., 0.]], dtype=torch.float64)
    """
    from scipy.fft import dct  # noqa: PLC0415  # slow to import, for this rule alone

    count = max(1, int(share * updates.shape[1]))
    low = torch.empty(len(updates), count, dtype=torch.float64)
    for row, kept in zip(updates.cpu(), low, strict=True):
        kept.copy_(torch.from_numpy(dct(row.double().numpy(), norm="ortho")[:count]))
    return low.to(updates.device)

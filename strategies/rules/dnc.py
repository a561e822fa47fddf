"""DnC: divide and conquer, which rejects outliers in random coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard
from strategies.kernels.client_memory import round_generator
from strategies.kernels.distances import squared_distances
from strategies.kernels.spectral import principal_direction
from strategies.kernels.weighted_sums import mean_of
from strategies.parameters import positive, require_non_negative
from strategies.tolerance import RelaxableRule


@dataclass(frozen=True, kw_only=True)
class DnC(RelaxableRule):
    """Average the updates that pass all of several spectral tests on random coordinates.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses
    for Federated Learning", NDSS 2021. Each test draws `sub_dimension` coordinates, centres them, and
    rejects the `fraction` f clients that deviate most along the top singular vector. If no client passes all
    tests, the clients that pass most tests are averaged. Of equal deviations, the first clients' pass.

    >>> import torch
    >>> DnC(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [90.0]])).update
    tensor([2.])
    """

    iterations: int = 1
    """Number of tests."""
    sub_dimension: int = 10_000
    """Number of coordinates per test."""
    fraction: float = 1.0
    """Number of clients that a test rejects, as a multiple of f, rounded down."""

    search_space: ClassVar = {"iterations": (1, 3, 5), "fraction": (0.5, 1.0, 1.5)}
    card: ClassVar = RuleCard(
        paper="Shejwalkar and Houmansadr, NDSS 2021",
        needs=("byzantine", "randomness"),
        precondition="n > 2f",
        deviations="Blades and CRYPTO-KU's library run 5 tests.",
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(iterations=self.iterations, sub_dimension=self.sub_dimension)
        require_non_negative(fraction=self.fraction)

    @property
    def guaranteed(self) -> int:
        return max(2 * self.byzantine, self._dropped) + 1

    @property
    def defined(self) -> int:
        return max(self.byzantine, self._dropped) + 1

    @property
    def _dropped(self) -> int:
        return int(self.fraction * self.byzantine)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n, d = updates.shape
        generator = round_generator(context)
        equal = torch.ones(n, dtype=torch.float64, device=updates.device)
        survived = torch.zeros(n, dtype=torch.int64, device=updates.device)
        for _ in range(self.iterations):
            drawn = torch.randperm(d, generator=generator, device=generator.device)[: self.sub_dimension]
            # Ascending columns are read several times faster than columns in random order.
            sample = updates.index_select(1, drawn.to(updates.device).sort().values).double()
            _, deviations = principal_direction(squared_distances(sample), equal)
            survived[deviations.sort(stable=True).indices[: n - self._dropped]] += 1
        return mean_of((survived == survived.max()).nonzero().flatten(), updates)

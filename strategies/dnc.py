"""DnC: divide and conquer, which drops whoever sticks out in random coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.combination import mean_of
from strategies.distances import squared_distances
from strategies.knobs import not_negative, positive
from strategies.noise import stream_of
from strategies.principal_direction import principal_direction
from strategies.rule import Aggregate, Card, Context, checked, tolerated


@dataclass(frozen=True, kw_only=True)
class DnC:
    """Average the clients that survive every one of several spectral tests on random coordinates.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses
    for Federated Learning", NDSS 2021. Each test draws `sub_dimension` coordinates, centres them, and drops
    the `fraction` f clients that deviate most along the top singular vector. Where nobody survives all
    tests, those who survive most are averaged. Of equal deviations the first client's wins.

    >>> import torch
    >>> DnC(byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [90.0]])).update
    tensor([2.])
    """

    byzantine: int = 0
    iterations: int = 1
    sub_dimension: int = 10_000
    fraction: float = 1.0
    """How many clients a test drops, as a multiple of f, rounded down."""

    card: ClassVar = Card(
        paper="Shejwalkar and Houmansadr, NDSS 2021",
        needs=("byzantine", "randomness"),
        precondition="n > 2f",
        deviations="Blades and CRYPTO-KU's library run 5 tests.",
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        tolerated(self.byzantine)
        positive(iterations=self.iterations, sub_dimension=self.sub_dimension)
        not_negative(fraction=self.fraction)

    @property
    def minimum(self) -> int:
        return max(2 * self.byzantine, self._dropped) + 1

    @property
    def _dropped(self) -> int:
        return int(self.fraction * self.byzantine)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        n, d = updates.shape
        generator = stream_of(context)
        equal = torch.ones(n, dtype=torch.float64, device=updates.device)
        survived = torch.zeros(n, dtype=torch.int64, device=updates.device)
        for _ in range(self.iterations):
            drawn = torch.randperm(d, generator=generator, device=generator.device)[: self.sub_dimension]
            sample = updates.index_select(1, drawn.to(updates.device).sort().values).double()
            _, deviations = principal_direction(squared_distances(sample), equal)
            survived[deviations.sort(stable=True).indices[: n - self._dropped]] += 1
        return mean_of((survived == survived.max()).nonzero().flatten(), updates)

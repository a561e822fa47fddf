"""Bucketing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.rule import Card, Context, InputError, checked


@dataclass(frozen=True, kw_only=True)
class Bucketing:
    """Put the updates into buckets of `size` at random, and hand on the mean of every bucket.

    Karimireddy, He, Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR 2022.
    At most f buckets hold a malicious client, so the rule behind goes on tolerating f, of fewer rows.

    >>> Bucketing(order="fixed")(torch.tensor([[1.0], [3.0], [8.0]]))
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 1.0000]], dtype=torch.float64)
    """

    size: int = 2
    """Updates in a bucket; the last one holds what is left. The paper asks for at most n / (2f)."""
    order: Literal["random", "fixed"] = "random"
    """Shuffle the clients in every round as the paper does, or fill the buckets in their order."""

    card: ClassVar = Card(
        paper="Karimireddy et al., ICLR 2022",
        needs=("randomness",),
        deviations="The authors' code also resamples with replacement; ByzFL forms buckets as here.",
        permutation_equivariant=False,
        rotation_equivariant=True,
    )
    aligned: ClassVar[bool] = False
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size: got {self.size}, wanted at least 1 update in a bucket.")

    def rows(self, n: int) -> int:
        return -(-n // self.size)

    def __call__(self, updates: Tensor, context: Context | None = None) -> Tensor:
        updates, _ = checked(self, updates, None)
        n = len(updates)
        members = self._order(n, context).to(updates.device)
        buckets = torch.arange(n, device=updates.device) // self.size
        inside = torch.zeros(self.rows(n), n, dtype=torch.float64, device=updates.device)
        inside[buckets, members] = 1
        return inside / inside.sum(dim=1, keepdim=True)

    def _order(self, n: int, context: Context | None) -> Tensor:
        if self.order == "fixed":
            return torch.arange(n)
        generator = None if context is None else context.generator
        if generator is None:
            raise InputError(
                f"{self!r} shuffles, and got no random stream: hand it a context with a generator, "
                "or set order=fixed."
            )
        return torch.randperm(n, generator=generator, device=generator.device)

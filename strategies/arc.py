"""Adaptive robust clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.checked_norms import checked_norms
from strategies.clip_factors import clip_factors
from strategies.rule import Card, Context, tolerated


@dataclass(frozen=True, kw_only=True)
class ARC:
    """Shorten the floor(2 (f / n) (n - f)) longest updates to the norm of the longest of the others.

    Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, "Adaptive Gradient Clipping for Robust Federated
    Learning", ICLR 2025.

    >>> import torch
    >>> ARC(byzantine=1)(torch.tensor([[1.0], [2.0], [8.0]])).diagonal()
    tensor([1.0000, 1.0000, 0.2500], dtype=torch.float64)
    """

    byzantine: int = 0

    card: ClassVar = Card(
        paper="Allouah et al., ICLR 2025",
        needs=("byzantine",),
        precondition="n > 2f",
        deviations="ByzFL clips in place and takes any f <= n; the norm to clip to is the same.",
        translation_equivariant=False,
        mean_without_byzantine=True,
        rotation_equivariant=True,
    )
    aligned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        tolerated(self.byzantine)

    @property
    def minimum(self) -> int:
        return 2 * self.byzantine + 1

    def rows(self, n: int) -> int:
        return n

    def __call__(self, updates: Tensor, context: Context | None = None) -> Tensor:
        _, norms = checked_norms(self, updates, None)
        n = len(updates)
        clipped = 2 * self.byzantine * (n - self.byzantine) // n
        return clip_factors(norms, norms.sort().values[n - clipped - 1]).diag()

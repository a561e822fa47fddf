"""Static clipping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.checked_norms import checked_norms
from strategies.clip_factors import clip_factors
from strategies.rule import Card, Context


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """Shorten every update to `threshold` where its Euclidean norm is larger.

    Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019.

    >>> import torch
    >>> Clipping(threshold=2)(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    tensor([[0.4000, 0.0000],
            [0.0000, 1.0000]], dtype=torch.float64)
    """

    threshold: float = 2.0

    card: ClassVar = Card(
        paper="Sun et al., 2019",
        deviations="The threshold depends on the task: 2 is ByzFL's default, FLPoison and BackFed take 3.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
        rotation_equivariant=True,
    )
    aligned: ClassVar[bool] = True
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 < self.threshold < math.inf:
            raise ValueError(f"threshold: got {self.threshold}, wanted a norm above 0.")

    def rows(self, n: int) -> int:
        return n

    def __call__(self, updates: Tensor, context: Context | None = None) -> Tensor:
        _, norms = checked_norms(self, updates, None)
        return clip_factors(norms, self.threshold).diag()

"""Random draws of rules, from the random generator of the round."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.rule import Context


def stream_of(context: Context | None) -> torch.Generator:
    """Return the context's random generator. Default: a generator seeded with the round.

    With the default, a rule that draws also runs on a bare matrix and gives the same result twice.
    """
    context = context or Context()
    return context.generator or torch.Generator().manual_seed(context.round)


def gaussian(like: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return noise with the standard deviation `deviation`, of the shape, dtype and device of `like`."""
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return noise.mul_(deviation).to(like.device)

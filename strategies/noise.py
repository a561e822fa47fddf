"""Random draws of rules, always from the stream that belongs to the round."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.rule import Context


def stream_of(context: Context | None) -> torch.Generator:
    """Return the context's random stream; without one, a fixed stream for the round.

    So a rule that draws can be tried on a bare matrix, and still gives the same twice.
    """
    context = context or Context()
    return context.generator or torch.Generator().manual_seed(context.round)


def gaussian(like: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return noise with the standard deviation `deviation`, of the shape, dtype and device of `like`."""
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return noise.mul_(deviation).to(like.device)

"""Random numbers for whole updates, drawn by several threads, the same whatever their number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.in_threads import in_threads

BLOCK = 1 << 18
"""Numbers that one stream draws."""

Fill = Callable[[np.random.Generator, NDArray[np.floating]], object]
"""`fill(stream, block)` fills a block with numbers of the stream."""


def normals(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal noise of the shape, dtype and device of `like`.

    >>> normals(torch.zeros(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    return _filled(
        like, generator, lambda stream, block: stream.standard_normal(dtype=block.dtype, out=block)
    )


def uniforms(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return noise from 0 to 1, 1 left out, of the shape, dtype and device of `like`."""
    return _filled(like, generator, lambda stream, block: stream.random(dtype=block.dtype, out=block))


def _filled(like: Tensor, generator: torch.Generator, fill: Fill) -> Tensor:
    drawn = torch.empty(like.shape, dtype=torch.promote_types(like.dtype, torch.float32))
    blocks = np.split(drawn.view(-1).numpy(), range(BLOCK, drawn.numel(), BLOCK))
    seeds = torch.randint(2**63 - 1, (len(blocks),), generator=generator).tolist()

    def work(position: int) -> None:
        fill(np.random.Generator(np.random.SFC64(seeds[position])), blocks[position])

    if len(blocks) == 1:
        work(0)
    else:
        list(in_threads(work, range(len(blocks))))
    return drawn.to(like)

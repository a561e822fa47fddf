"""Dropout that draws from a stream of its own, and never from the global one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero a random share `p` of the values, or of whole channels, and scale up the others.

    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: A Simple Way to Prevent Neural
    Networks from Overfitting", JMLR 2014; by channel as in Tompson, Goroshin, Jain, LeCun, Bregler,
    "Efficient Object Localization Using Convolutional Networks", CVPR 2015. It acts only in training mode,
    and only while `drawing` gives it a stream; else it lets everything through.

    Raises:
        ValueError: `p` is not a share below 1.
    """

    def __init__(self, p: float, *, channels: bool = False) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p: got {p}, wanted 0 or more, and less than 1.")
        self.p = p
        self.channels = channels
        self.generator: torch.Generator | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Return the values (m, ...), some of them zero."""
        if not self.training or self.generator is None:
            return values
        shape = (*values.shape[:2], *(1 for _ in values.shape[2:])) if self.channels else values.shape
        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        kept = (drawn >= self.p).to(device=values.device, dtype=values.dtype)
        return values * (kept / (1 - self.p))


def has_dropout(model: nn.Module) -> bool:
    """Return whether any of the model's layers drops values."""
    return any(isinstance(layer, Dropout) for layer in model.modules())


@contextmanager
def drawing(layers: Iterable[Dropout], generator: torch.Generator, seed: int | None = None) -> Iterator[None]:
    """Have these layers draw from `generator`, or from where a seed starts, while the context lasts."""
    layers = list(layers)
    stream = generator if seed is None else torch.Generator().manual_seed(seed)
    for layer in layers:
        layer.generator = stream
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None

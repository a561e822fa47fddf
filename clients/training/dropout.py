"""Dropout with its own random stream, independent of the global one."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero a random share `p` of the values, or of whole channels, and scale up the others.

    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: A Simple Way to Prevent Neural
    Networks from Overfitting", JMLR 2014; by channel as in Tompson, Goroshin, Jain, LeCun, Bregler,
    "Efficient Object Localization Using Convolutional Networks", CVPR 2015. The layer drops
    values only in training mode, and only within `drawing`.

    Raises:
        ValueError: `p` is not in [0, 1).
    """

    def __init__(self, p: float, *, channels: bool = False) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p: got {p}, expected 0 or more and less than 1.")
        self.p = p
        self.channels = channels
        self.generator: torch.Generator | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Set random values (m, ...) to zero and scale up the others."""
        if not self.training or self.generator is None:
            return values
        shape = (*values.shape[:2], *(1 for _ in values.shape[2:])) if self.channels else values.shape
        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        kept = (drawn >= self.p).to(device=values.device, dtype=values.dtype)
        return values * (kept / (1 - self.p))


def has_dropout(model: nn.Module) -> bool:
    """Return whether the model has a dropout layer."""
    return any(isinstance(layer, Dropout) for layer in model.modules())


@contextmanager
def drawing(layers: Iterable[Dropout], generator: torch.Generator, seed: int | None = None) -> Iterator[None]:
    """Sample these layers' masks from `generator` in this context. With `seed`, use a new stream instead."""
    layers = list(layers)
    stream = generator if seed is None else torch.Generator().manual_seed(seed)
    for layer in layers:
        layer.generator = stream
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None

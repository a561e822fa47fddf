"""A model's parameters as one flat vector, which clients send, attacks change and servers aggregate."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from strategies.kernels.columns import Layout

__all__ = [
    "Buffers",
    "Layout",
    "ModelState",
    "buffers_of",
    "flatten",
    "layout_of",
    "load",
    "split",
    "trainable",
]

Buffers = Mapping[str, Tensor]
"""Buffers of a model by name, such as the running statistics of batch normalisation. They are the state that
training changes without gradients. Buffers that are not part of the model's state dict are left out."""


@dataclass(frozen=True, eq=False)
class ModelState:
    """Weights and buffers of a model."""

    weights: Tensor
    """Trainable parameters, (d,)."""
    buffers: Buffers = field(default_factory=dict)


def layout_of(model: nn.Module) -> Layout:
    """Return the names and shapes of the trainable parameters of `model`. Tied parameters occur once."""
    return tuple((name, parameter.shape) for name, parameter in trainable(model).items())


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training changes, by name. Frozen parameters are left out."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def buffers_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the buffers in the state dict of `model`, by name, on the CPU."""
    buffers = dict(model.named_buffers())
    if not buffers:
        return {}
    stored = model.state_dict(keep_vars=True).keys()
    return {name: value.detach().cpu().clone() for name, value in buffers.items() if name in stored}


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """Concatenate the tensors, each in row-major order, to one vector (d,).

    >>> flatten([torch.zeros(1, 2), torch.ones(1)])
    tensor([0., 0., 1.])
    """
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def split(vector: Tensor, layout: Layout) -> list[Tensor]:
    """Return views of `vector` (d,) in the shapes of `layout`.

    >>> [part.shape for part in split(torch.zeros(3), (("w", torch.Size([1, 2])), ("b", torch.Size([1]))))]
    [torch.Size([1, 2]), torch.Size([1])]
    """
    parts = vector.split([shape.numel() for _, shape in layout])
    return [part.view(shape) for part, (_, shape) in zip(parts, layout, strict=True)]


@torch.no_grad()
def load(vector: Tensor, parameters: Sequence[Tensor]) -> None:
    """Write `vector` (d,) into `parameters` of any memory format."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    for part, parameter in zip(parts, parameters, strict=True):
        parameter.copy_(part.view(parameter.shape))

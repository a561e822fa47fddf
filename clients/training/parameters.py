"""A model's parameters as one flat vector, which clients send, attacks change and servers aggregate."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from strategies.kernels.columns import Layout

__all__ = ["Layout", "flatten", "layout_of", "load", "split"]


def layout_of(model: nn.Module) -> Layout:
    """Return the names and shapes of the parameters of `model`.

    Raises:
        ValueError: The model has buffers (running statistics), which an update does not contain.
    """
    buffers = [name for name, _ in model.named_buffers()]
    if buffers:
        raise ValueError(
            f"model: got buffers {buffers}, expected none. Use a model without running statistics."
        )
    return tuple((name, parameter.shape) for name, parameter in model.named_parameters())


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

"""The columns of a model's layers in the flat vector of an update."""

from __future__ import annotations

import torch

from strategies.base import InputError
from strategies.kernels.columns import Layout


def spans(layout: Layout | None, d: int) -> list[slice]:
    """Return the columns of each parameter tensor. Without a layout, all columns are one tensor.

    Raises:
        InputError: the layout does not fill d columns.

    >>> spans((("weight", torch.Size([2, 3])), ("bias", torch.Size([2]))), 8)
    [slice(0, 6, None), slice(6, 8, None)]
    """
    if layout is None:
        return [slice(0, d)]
    ends = torch.tensor([shape.numel() for _, shape in layout]).cumsum(0).tolist()
    if ends[-1:] != [d]:
        raise InputError(
            f"layout: fills {ends[-1:]} columns, expected {d}, one for each coordinate of an update."
        )
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def output_weights(layout: Layout | None) -> int | None:
    """Return the position in `layout` of the output layer's weights, the last tensor with 2 axes or more."""
    matrices = [i for i, (_, shape) in enumerate(layout or ()) if len(shape) >= 2]
    return matrices[-1] if matrices else None


def output_columns(layout: Layout | None, d: int) -> slice:
    """Return the columns of the output layer's weight matrix. Without a layout, return all columns."""
    position = output_weights(layout)
    return slice(0, d) if position is None else spans(layout, d)[position]

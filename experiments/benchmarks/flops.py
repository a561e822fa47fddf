"""Floating-point operations of training, from the shapes of the layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def training_flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the operations of forward and backward pass for one image of `shape` (c, h, w).

    Convolutions and linear layers count, two operations a multiplication and addition. The backward pass
    costs as much for the weights and as much again for the inputs, which the first layer does not need.

    >>> training_flops(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (1, 2, 2))
    84
    """
    forward: list[int] = []

    def count(layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        if isinstance(layer, nn.Linear):
            forward.append(2 * layer.in_features * layer.out_features)
        elif isinstance(layer, nn.Conv2d):
            each = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
            forward.append(2 * each * math.prod(output.shape[1:]))

    handles = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return 3 * sum(forward) - forward[0]

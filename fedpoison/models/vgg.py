"""VGG-11 with group normalisation."""

from __future__ import annotations

from torch import nn

from fedpoison.models.plain import Shape, image_size
from fedpoison.models.residual import Positive, group_norm

STAGES = (1, 1, 2, 2, 2)
"""Number of convolutions per stage of VGG-11. A pooling layer follows each stage."""
LARGEST = 8
"""Largest number of channels of a stage, in multiples of the first stage's."""


def vgg11_gn(shape: Shape, classes: int, *, width: Positive = 64, groups: Positive = 32) -> nn.Module:
    """Build VGG-11 (Simonyan, Zisserman, ICLR 2015) with group normalisation; 9.2M parameters.

    One linear layer replaces the three of the paper, as usual for small images. A stage does not pool an
    image with a side of one pixel.

    Args:
        shape: Shape of a sample.
        classes: Number of classes.
        width: Number of channels of the first stage.
        groups: Largest number of groups per layer.
    """
    norm = group_norm(groups)
    inputs, *sides = image_size(shape)
    side = min(sides)
    layers: list[nn.Module] = []
    for stage, count in enumerate(STAGES):
        outputs = width * min(2**stage, LARGEST)
        for _ in range(count):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), norm(outputs), nn.ReLU()]
            inputs = outputs
        if side > 1:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))

"""Residual networks: ResNet-18 with batch or group normalisation, and the ResNet-20 for small images.

The names of the parameters are those of torchvision, so its trained weights fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from fedpoison.models.plain import Shape, image_size

Positive = Annotated[int, Field(ge=1)]
Norm = Callable[[int], nn.Module]
"""`norm(channels)` returns a normalisation layer."""
SMALL = 64
"""Largest side in pixels of an image for which the first layers do not reduce the resolution."""


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        stride: Stride of the first convolution.
        norm: Normalisation after each convolution.
        projected: Whether a shortcut between different shapes is a 1x1 convolution. Otherwise, it subsamples
            the image and adds channels of zeros.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm, *, projected: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = norm(outputs)
        self.stride, self.added = stride, outputs - inputs
        self.downsample: nn.Module | None = None
        if projected and (stride > 1 or self.added):
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), norm(outputs)
            )

    def forward(self, values: Tensor) -> Tensor:
        """Compute the output (m, outputs, h / stride, w / stride)."""
        if self.downsample is not None:
            shortcut: Tensor = self.downsample(values)
        else:
            shortcut = pad(values[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        inner = self.bn1(self.conv1(values)).relu()
        outputs: Tensor = (self.bn2(self.conv2(inner)) + shortcut).relu()
        return outputs


class ResNet(nn.Module):
    """Residual network of stages, each with the given number of blocks and twice the channels.

    Args:
        shape: Channels, height and width of an image.
        classes: Number of classes.
        blocks: Number of blocks per stage.
        width: Number of channels of the first stage.
        norm: Normalisation after each convolution.
        projected: As for `Block`.
    """

    def __init__(
        self, shape: Shape, classes: int, *, blocks: Sequence[int], width: int, norm: Norm, projected: bool
    ) -> None:
        super().__init__()
        channels, height, width_of_image = image_size(shape)
        large = max(height, width_of_image) > SMALL
        size, stride, padding = (7, 2, 3) if large else (3, 1, 1)
        self.conv1 = nn.Conv2d(channels, width, size, stride=stride, padding=padding, bias=False)
        self.bn1 = norm(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        inputs = width
        stages: list[str] = []
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            strides = [1 if stage == 0 else 2, *[1] * (count - 1)]
            layers = [
                Block(inputs if first == 0 else outputs, outputs, stride, norm, projected=projected)
                for first, stride in enumerate(strides)
            ]
            stages.append(f"layer{stage + 1}")
            self.add_module(stages[-1], nn.Sequential(*layers))
            inputs = outputs
        self.stages = tuple(stages)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits (m, k) of images (m, c, h, w)."""
        values = self.maxpool(self.bn1(self.conv1(images)).relu())
        for stage in self.stages:
            values = self.get_submodule(stage)(values)
        logits: Tensor = self.fc(values.mean(dim=(2, 3)))
        return logits


def resnet18(shape: Shape, classes: int, *, width: Positive = 64) -> nn.Module:
    """Build ResNet-18 with batch normalisation (He et al., CVPR 2016); 11.2M parameters.

    For images of up to 64 pixels, the first convolution is 3x3 with stride 1 and without pooling, as usual
    for CIFAR. Larger images get torchvision's layers, with its names of the parameters.

    Args:
        shape: Shape of a sample.
        classes: Number of classes.
        width: Number of channels of the first stage.
    """
    return ResNet(shape, classes, blocks=(2, 2, 2, 2), width=width, norm=nn.BatchNorm2d, projected=True)


def resnet18_gn(shape: Shape, classes: int, *, width: Positive = 64, groups: Positive = 32) -> nn.Module:
    """Build ResNet-18 with group normalisation, which has no buffers; 11.2M parameters.

    Hsieh, Phanishayee, Mutlu, Gibbons, "The Non-IID Data Quagmire of Decentralized Machine Learning", ICML
    2020, recommend it for clients with different data.

    Args:
        shape: Shape of a sample.
        classes: Number of classes.
        width: Number of channels of the first stage.
        groups: Largest number of groups per layer.
    """
    norm = group_norm(groups)
    return ResNet(shape, classes, blocks=(2, 2, 2, 2), width=width, norm=norm, projected=True)


def resnet20(shape: Shape, classes: int, *, width: Positive = 16) -> nn.Module:
    """Build the ResNet-20 for CIFAR-10 (He et al., CVPR 2016), with batch normalisation; 270k parameters.

    Args:
        shape: Shape of a sample.
        classes: Number of classes.
        width: Number of channels of the first stage.
    """
    return ResNet(shape, classes, blocks=(3, 3, 3), width=width, norm=nn.BatchNorm2d, projected=False)


def group_norm(groups: int) -> Norm:
    """Return a function that builds group normalisation, with at most this number of groups.

    A group has two channels or more: with one channel and one pixel, its only value would become 0.
    """

    def norm(channels: int) -> nn.Module:
        most = min(groups, max(1, channels // 2))
        return nn.GroupNorm(next(count for count in range(most, 0, -1) if channels % count == 0), channels)

    return norm

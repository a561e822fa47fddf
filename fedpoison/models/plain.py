"""Plain models, without residual connections or normalisation.

Pooling precedes ReLU: the order does not change the result, and ReLU then processes a quarter of the values.
"""

from __future__ import annotations

import math

from torch import nn

from clients.training.dropout import Dropout
from fedpoison.errors import ScenarioError

Shape = tuple[int, ...]
"""Channels, height and width of an image, or the number of features or tokens of another sample."""


def cnn(shape: Shape, classes: int) -> nn.Module:
    """Build the default model: two 5x5 convolutions (16 and 32 channels), a linear layer; 29k parameters."""
    channels, height, width = image_size(shape)
    return nn.Sequential(
        *_convolution(channels, 16, 5, padding=2),
        *_convolution(16, 32, 5, padding=2),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), classes),
    )


def cnn_mcmahan(shape: Shape, classes: int) -> nn.Module:
    """Build the CNN of McMahan et al. (AISTATS 2017) with 512 hidden units; 1.66M parameters."""
    channels, height, width = image_size(shape)
    return nn.Sequential(
        *_convolution(channels, 32, 5, padding=2),
        *_convolution(32, 64, 5, padding=2),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), 512),
        nn.ReLU(),
        nn.Linear(512, classes),
    )


def lenet5(shape: Shape, classes: int) -> nn.Module:
    """Build LeNet-5 (LeCun et al., 1998) with max-pooling and ReLU; 62k parameters on 28x28."""
    channels, height, width = image_size(shape)
    return nn.Sequential(
        *_convolution(channels, 6, 5, padding=2),
        *_convolution(6, 16, 5),
        nn.Flatten(),
        nn.Linear(16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2), 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def logistic(shape: Shape, classes: int) -> nn.Module:
    """Build multinomial logistic regression: one linear layer, a convex problem; 7,850 parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


def mlp(shape: Shape, classes: int) -> nn.Module:
    """Build the multilayer perceptron 784-200-200-10 of McMahan et al. (AISTATS 2017); 199k parameters."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 200),
        nn.ReLU(),
        nn.Linear(200, 200),
        nn.ReLU(),
        nn.Linear(200, classes),
    )


def mlp_small(shape: Shape, classes: int) -> nn.Module:
    """Build a perceptron with 32 hidden units, for tables of a thousand runs; 25k parameters."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 32), nn.ReLU(), nn.Linear(32, classes))


def cnn_byzfl(shape: Shape, classes: int) -> nn.Module:
    """Build the MNIST CNN of ByzFL: 20 and 50 channels, 500 hidden units; 431k parameters."""
    channels, height, width = image_size(shape)
    return nn.Sequential(
        *_convolution(channels, 20, 5),
        *_convolution(20, 50, 5),
        nn.Flatten(),
        nn.Linear(50 * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2), 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


def cnn_bucketing(shape: Shape, classes: int) -> nn.Module:
    """Build the MNIST CNN of the bucketing authors (ICLR 2022), with dropout; 1.2M parameters.

    As in the authors' code, no ReLU follows the second convolution. With that ReLU, the median does not learn
    under bit-flips if samples are sorted by class.
    """
    channels, height, width = image_size(shape)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.MaxPool2d(2),
        Dropout(0.25, channels=True),
        nn.Flatten(),
        nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128),
        nn.ReLU(),
        Dropout(0.5),
        nn.Linear(128, classes),
    )


def image_size(shape: Shape) -> tuple[int, int, int]:
    """Return the shape of an image, or raise ScenarioError for samples that are no images."""
    if len(shape) != 3:
        raise ScenarioError(
            f"model: got samples of shape {shape}, expected images (channels, height, width); for features, "
            "use mlp or mlp-small."
        )
    channels, height, width = shape
    return channels, height, width


def _convolution(inputs: int, outputs: int, size: int, *, padding: int = 0) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, size, padding=padding), nn.MaxPool2d(2), nn.ReLU()]

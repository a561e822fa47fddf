"""The models that clients train, each built for the shape of a sample and a number of classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from clients.training.dropout import Dropout as Dropout
from clients.training.global_stream import seeded
from fedpoison.models.plain import Shape as Shape
from fedpoison.models.plain import (
    cnn,
    cnn_bucketing,
    cnn_byzfl,
    cnn_mcmahan,
    lenet5,
    logistic,
    mlp,
    mlp_small,
)
from fedpoison.models.residual import resnet18, resnet18_gn, resnet20
from fedpoison.models.tokens import lstm
from fedpoison.models.vgg import vgg11_gn

ModelBuilder = Callable[..., nn.Module]
"""`builder(shape, classes, **parameters)`. Its keyword parameters are those of the model in a scenario."""

MODELS: dict[str, ModelBuilder] = {
    "cnn": cnn,
    "cnn-bucketing": cnn_bucketing,
    "cnn-byzfl": cnn_byzfl,
    "cnn-mcmahan": cnn_mcmahan,
    "lenet5": lenet5,
    "logistic": logistic,
    "lstm": lstm,
    "mlp": mlp,
    "mlp-small": mlp_small,
    "resnet18": resnet18,
    "resnet18-gn": resnet18_gn,
    "resnet20": resnet20,
    "vgg11-gn": vgg11_gn,
}


def build(builder: ModelBuilder, shape: Shape, classes: int, generator: torch.Generator) -> nn.Module:
    """Build a model with PyTorch's initial weights, drawn from `generator`.

    Layers draw from PyTorch's global generator. This function seeds it, and restores its state afterwards.
    """
    with seeded(int(torch.randint(2**62, (), generator=generator)), torch.device("cpu")):
        return builder(shape, classes)

"""The neurons of the last hidden layer of a model: how active they are, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clients.training.dropout import Dropout
from fedpoison.errors import ScenarioError

BATCH = 250
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
NORMS = (_BatchNorm, nn.GroupNorm)
NEURON_WISE = (
    *NORMS, nn.ReLU, nn.LeakyReLU, nn.GELU, nn.Tanh, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
    nn.Dropout, nn.Dropout2d, Dropout, nn.Identity,
)  # fmt: skip
"""Layers that change each neuron by itself and keep its number. They may follow the layer of the neurons."""


@dataclass(frozen=True, eq=False)
class Neurons:
    """Neurons of a model: the channels of its last convolution, or the units of its last hidden layer."""

    model: nn.Sequential
    layer: str
    """Name of the layer in the model, with its kind."""
    end: int
    """Number of the model's layers that compute the neurons, with normalisation, activation and pooling."""
    parameters: Sequence[nn.Parameter]
    """Parameters with one row per neuron. If its rows are 0, a neuron is 0 for every input."""

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Return the neurons of the last convolution, or without one, of the last hidden linear layer.

        Raises:
            ScenarioError: the model is not a sequence of layers, or has no such layer.
        """
        if not isinstance(model, nn.Sequential):
            raise ScenarioError(
                f"model: got {type(model).__name__}, whose layers are not a plain sequence, so no layer is "
                "known to hold the last neurons; expected an nn.Sequential of layers, such as cnn or mlp."
            )
        layers = list(model)
        linear = [position for position, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
        before = linear[-1] if linear else 0
        convolutions = [i for i, layer in enumerate(layers[:before]) if isinstance(layer, CONVOLUTIONS)]
        found = convolutions or linear[:-1]
        if not found:
            raise ScenarioError(
                "model: got no hidden layer, expected a convolution or a linear layer before the output "
                "layer; choose a run of another model, such as cnn or mlp."
            )
        hidden, end = layers[found[-1]], found[-1] + 1
        while isinstance(layers[end], NEURON_WISE):
            end += 1
        setting = next(layer for layer in layers[end - 1 :: -1] if isinstance(layer, (*NORMS, type(hidden))))
        weights = [*setting.parameters(recurse=False)]
        if not weights or not all(weight.requires_grad for weight in weights):
            raise ScenarioError(
                f"model: layer {found[-1]} has no weights that training changes, so its neurons cannot be "
                "removed; choose a run of another model."
            )
        return cls(model, f"{found[-1]}: {type(hidden).__name__}", end, weights)

    def __len__(self) -> int:
        return len(self.parameters[0])

    @torch.no_grad()
    def activations(self, images: Tensor) -> Tensor:
        """Return the mean absolute value of each neuron over samples (m, ...) and positions, (k,) float64."""
        mode, device = self.model.training, self.parameters[0].device
        self.model.eval()
        total = torch.zeros(len(self), dtype=torch.float64)
        for batch in images.split(BATCH):
            values = self.model[: self.end](batch.to(device)).abs().double()
            total += values.reshape(len(batch), len(self), -1).mean(dim=2).sum(dim=0).cpu()
        self.model.train(mode)
        return total / len(images)

    @torch.no_grad()
    def remove(self, positions: Tensor) -> None:
        """Set the parameters of the neurons at `positions` (p,) to 0."""
        for parameter in self.parameters:
            parameter[positions.to(parameter.device)] = 0

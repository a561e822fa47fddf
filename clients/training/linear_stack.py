"""Loss and gradients of a stack of linear layers, without autograd."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

_nll_loss = torch.ops.aten.nll_loss_forward.default
_nll_loss_gradient = torch.ops.aten.nll_loss_backward.default
_log_softmax_gradient = torch.ops.aten._log_softmax_backward_data.default  # noqa: SLF001  # torch has no other name for it
_relu_gradient = torch.ops.aten.threshold_backward.default
_MEAN = 1
"""Torch's number of the mean over the samples."""
_NO_CLASS = -100
"""Torch's number of a label that does not count."""
_ONE = torch.ones(())
"""Gradient of the loss with respect to itself."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Attributes in which torch keeps the hooks of layers and parameters."""


@dataclass(frozen=True, eq=False)
class _Linear:
    """Views of the parameters of a linear layer, which share their memory and record no gradients."""

    weight: Tensor
    """(k, p)"""
    transposed: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, layer: nn.Linear) -> Self:
        weight = layer.weight.detach()
        return cls(weight, weight.t(), None if layer.bias is None else layer.bias.detach())

    def __call__(self, values: Tensor) -> Tensor:
        if self.bias is None:
            return values.mm(self.transposed)
        return torch.addmm(self.bias, values, self.transposed)


class LinearStack:
    """Mean cross-entropy and its gradients for an `nn.Sequential` of `Flatten`, then `Linear` and `ReLU`.

    For small layers, autograd takes longer than the arithmetic. This class calls the kernels that autograd
    calls, so the results are the same bits.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = [_Linear.of(layer) if isinstance(layer, nn.Linear) else None for layer in layers]
        """None: a ReLU."""
        self._first = next(place for place, layer in enumerate(self._layers) if layer is not None)

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """Return the stack of a model, or None if the model needs autograd.

        Other layers, hooks, frozen or shared parameters, other numbers than float32, and other devices than
        the CPU need autograd.
        """
        if type(model) is not nn.Sequential or not len(model) or any(map(_has_hooks, model.modules())):
            return None
        flatten, *layers = model
        if type(flatten) is not nn.Flatten or (flatten.start_dim, flatten.end_dim) != (1, -1):
            return None
        if any(type(layer) not in (nn.Linear, nn.ReLU) for layer in layers):
            return None
        parameters = [parameter for _, parameter in model.named_parameters(remove_duplicate=False)]
        distinct = len({id(parameter) for parameter in parameters}) == len(parameters)
        return cls(layers) if parameters and distinct and all(map(_is_plain, parameters)) else None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the mean cross-entropy and the gradients of the parameters, in the order of the model.

        Args:
            images: samples, (m, ...).
            labels: their classes, (m,).
        """
        values = images.flatten(1)
        inputs = []
        for layer in self._layers:
            inputs.append(values)
            values = torch.relu(values) if layer is None else layer(values)
        logs = torch.log_softmax(values, 1)
        loss, counted = _nll_loss(logs, labels, None, _MEAN, _NO_CLASS)
        gradient = _nll_loss_gradient(_ONE, logs, labels, None, _MEAN, _NO_CLASS, counted)
        gradient = _log_softmax_gradient(gradient, logs, 1, logs.dtype)
        return loss, self._gradients(inputs, gradient)

    def _gradients(self, inputs: list[Tensor], gradient: Tensor) -> list[Tensor]:
        """Return the gradients of the parameters.

        Args:
            inputs: input of each layer, (m, p).
            gradient: gradient of the loss with respect to the output of the last layer, (m, k).
        """
        found: list[Tensor] = []
        for place in range(len(inputs) - 1, self._first - 1, -1):
            layer = self._layers[place]
            if layer is None:
                gradient = _relu_gradient(gradient, inputs[place], 0)
                continue
            if layer.bias is not None:
                found.append(gradient.sum(0))
            found.append(gradient.t().mm(inputs[place]))
            if place > self._first:
                gradient = gradient.mm(layer.weight)
        return found[::-1]


def _has_hooks(part: nn.Module | nn.Parameter) -> bool:
    return any(getattr(part, name, None) for name in _HOOKS)


def _is_plain(parameter: nn.Parameter) -> bool:
    on_cpu = parameter.device.type == "cpu" and parameter.dtype == torch.float32
    return on_cpu and parameter.requires_grad and not _has_hooks(parameter)

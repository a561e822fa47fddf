"""Loss and gradients of a stack of linear layers, without autograd."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

_nll_loss = torch.ops.aten.nll_loss_forward.default
_nll_loss_gradient = torch.ops.aten.nll_loss_backward.default
_log_softmax_gradient = torch.ops.aten._log_softmax_backward_data.default  # noqa: SLF001  # torch has no other name for it
_relu_gradient = torch.ops.aten.threshold_backward.default
_MEAN = 1
"""Torch's number of the mean over the samples."""
_NO_CLASS = -100
"""Torch's number of a label that does not count."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Attributes in which torch keeps the hooks of layers and parameters."""


class LinearStack:
    """Mean cross-entropy and its gradients for an `nn.Sequential` of `Flatten`, then `Linear` and `ReLU`.

    For small layers, autograd takes longer than the arithmetic. This class calls the kernels that autograd
    calls, so the results are the same bits.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """Return the stack of a model, or None if the model needs autograd.

        Other layers, hooks, frozen or shared parameters, other numbers than float32, and other devices than
        the CPU need autograd.
        """
        if type(model) is not nn.Sequential or any(map(_has_hooks, model.modules())):
            return None
        flatten, *layers = model
        if type(flatten) is not nn.Flatten or (flatten.start_dim, flatten.end_dim) != (1, -1):
            return None
        if any(type(layer) not in (nn.Linear, nn.ReLU) for layer in layers):
            return None
        parameters = [parameter for _, parameter in model.named_parameters(remove_duplicate=False)]
        distinct = len({id(parameter) for parameter in parameters}) == len(parameters)
        return cls(layers) if parameters and distinct and all(map(_is_plain, parameters)) else None

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the mean cross-entropy and the gradients of the parameters, in the order of the model.

        Args:
            images: samples, (m, ...).
            labels: their classes, (m,).
        """
        values = [images.flatten(1)]
        for layer in self._layers:
            values.append(layer(values[-1]))
        logs = log_softmax(values.pop(), dim=1)
        loss, counted = _nll_loss(logs, labels, None, _MEAN, _NO_CLASS)
        gradient = _nll_loss_gradient(torch.ones(()), logs, labels, None, _MEAN, _NO_CLASS, counted)
        gradient = _log_softmax_gradient(gradient, logs, 1, logs.dtype)
        return loss, self._gradients(values, gradient)

    def _gradients(self, inputs: list[Tensor], gradient: Tensor) -> list[Tensor]:
        """Return the gradients of the parameters.

        Args:
            inputs: input of each layer, (m, p).
            gradient: gradient of the loss with respect to the output of the last layer, (m, k).
        """
        found: list[Tensor] = []
        first = next(place for place, layer in enumerate(self._layers) if isinstance(layer, nn.Linear))
        for place in range(len(self._layers) - 1, first - 1, -1):
            layer, given = self._layers[place], inputs[place]
            if not isinstance(layer, nn.Linear):
                gradient = _relu_gradient(gradient, given, 0)
                continue
            if layer.bias is not None:
                found.append(gradient.sum(0))
            found.append(gradient.t().mm(given))
            if place > first:
                gradient = gradient.mm(layer.weight)
        return found[::-1]


def _has_hooks(part: nn.Module | nn.Parameter) -> bool:
    return any(getattr(part, name, None) for name in _HOOKS)


def _is_plain(parameter: nn.Parameter) -> bool:
    on_cpu = parameter.device.type == "cpu" and parameter.dtype == torch.float32
    return on_cpu and parameter.requires_grad and not _has_hooks(parameter)

"""Local training: stochastic gradient descent on one client's samples."""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from clients.training.dropout import Dropout, drawing
from clients.training.global_stream import draws_globally, seeded
from clients.training.linear_stack import LinearStack
from clients.training.local_training import LocalTraining, arithmetic, batches, sgd_step
from clients.training.parameters import Buffers, buffers_of, flatten, load, trainable
from clients.training.samples import Samples

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""`loss(model, images, labels) -> scalar`, differentiable."""
Edit = Callable[[list[Tensor]], None]
"""Edits a list of tensors (the gradients, or the parameters after a step) in place."""


def channels_last(images: Tensor) -> Tensor:
    """Return images (m, c, h, w) in the memory format of training, and other samples unchanged."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


class Trainer:
    """Trainer of one model in place, for one client after the other.

    The parameters and the buffers are the whole state of the model. `load` writes them, `weights` and
    `buffers` return them. Each trainer belongs to one thread.

    Raises:
        ValueError: The model has no trainable parameter.
    """

    def __init__(self, model: nn.Module, training: LocalTraining) -> None:
        self.training = training
        self.model = model.train().to(memory_format=torch.channels_last)
        self.parameters: list[Tensor] = list(trainable(model).values())
        if not self.parameters:
            raise ValueError("model: got no trainable parameter, expected at least one.")
        self.device = self.parameters[0].device
        self._buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        """Buffers of the last call of `load`."""
        self._no_single = any(isinstance(layer, _BatchNorm) for layer in model.modules())
        self._draws: tuple[bool, bool] | None = None
        """Whether the model draws from torch's global stream in training and in evaluation, once known."""
        self._start = flatten(self.parameters)
        self._dropouts = [layer for layer in model.modules() if isinstance(layer, Dropout)]

    def load(self, weights: Tensor, buffers: Buffers | None = None) -> None:
        """Set the parameters to `weights` (d,), the start of the round. The trainer keeps a reference.

        Args:
            weights: the parameters.
            buffers: the buffers. Default: those of the previous call, that is, of the start of the round.
        """
        load(weights, self.parameters)
        self._start = weights
        if self._buffers:
            self._buffers.update(buffers or {})
            with torch.no_grad():
                for name, buffer in self.model.named_buffers():
                    buffer.copy_(self._buffers[name])

    def buffers(self) -> dict[str, Tensor]:
        """Return copies of the current buffers, by name, on the CPU."""
        return buffers_of(self.model) if self._buffers else {}

    def stream(self, samples: Samples, generator: torch.Generator) -> AbstractContextManager[None]:
        """Return the context in which the model runs in training mode.

        If the model draws from torch's global random stream, as `torch.nn.Dropout` does, the context seeds
        this stream from `generator`. Other threads with such a model wait until the context ends.
        """
        if not self._draws_globally(samples.images)[0]:
            return nullcontext()
        return seeded(int(torch.randint(2**62, (), generator=generator)), self.device)

    def _draws_globally(self, images: Tensor) -> tuple[bool, bool]:
        if self._draws is None:
            self._draws = draws_globally(self.model, self._here(images[:2]))
        return self._draws

    def _here(self, images: Tensor) -> Tensor:
        return channels_last(images).to(self.device)

    def weights(self) -> Tensor:
        """Return a copy of the parameters as one vector (d,)."""
        return flatten(self.parameters)

    def loss(self, images: Tensor, labels: Tensor, *, weights: dict[str, Tensor] | None = None) -> Tensor:
        """Compute the mean cross-entropy of the model.

        Args:
            images: samples, (m, ...).
            labels: their labels, (m,).
            weights: parameters by name. Default: the current parameters.
        """
        paired = self._in_pairs(images)
        logits = self.model(paired) if weights is None else functional_call(self.model, weights, (paired,))
        return cross_entropy(logits[: len(images)], labels)

    def _in_pairs(self, images: Tensor) -> Tensor:
        """Return the images (m, ...). A single one is repeated if the model has batch normalisation."""
        return torch.cat([images, images]) if self._no_single and len(images) == 1 else images

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Compute the logits (m, k) in evaluation mode, on the device of the images."""
        with self._evaluating(images):
            logits: Tensor = self.model(self._here(images))
        return logits.to(images.device)

    def gradient(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the mean cross-entropy () and its gradient (d,) in evaluation mode.

        Args:
            images: samples, (m, ...).
            labels: their labels, (m,).
        """
        with self._evaluating(images):
            loss = cross_entropy(self.model(self._here(images)), labels.to(self.device))
            gradients = self._gradients(loss)
        return loss.detach(), flatten(gradients)

    @contextmanager
    def _evaluating(self, images: Tensor) -> Iterator[None]:
        """Put the model into evaluation mode, with a fixed seed if it draws numbers in this mode."""
        draws = self._draws_globally(images)[1]
        self.model.eval()
        try:
            with seeded(0, self.device) if draws else nullcontext():
                yield
        finally:
            self.model.train()

    def features(self, images: Tensor) -> Tensor:
        """Compute the penultimate activations (m, p), the inputs of the classifier, differentiably.

        Raises:
            ValueError: as `classifier`.
        """
        classifier = self.classifier(images)
        if isinstance(self.model, nn.Sequential) and self.model[-1] is classifier:
            activations: Tensor = self.model[:-1](self._in_pairs(images))
            return activations[: len(images)]
        inputs: list[Tensor] = []
        hook = classifier.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        try:
            self.model(self._in_pairs(images))
        finally:
            hook.remove()
        return inputs[-1][: len(images)]

    def classifier(self, images: Tensor) -> nn.Linear:
        """Return the linear layer whose output is the output of the model.

        Args:
            images: samples to run the model on, (m, c, h, w), if it is not an nn.Sequential.

        Raises:
            ValueError: The output of the model is not that of an nn.Linear.
        """
        if isinstance(self.model, nn.Sequential) and isinstance(self.model[-1], nn.Linear):
            return self.model[-1]
        made: list[tuple[nn.Linear, Tensor]] = []
        hooks = [
            layer.register_forward_hook(lambda layer, _, output: made.append((layer, output)))
            for layer in self.model.modules()
            if isinstance(layer, nn.Linear)
        ]
        kept = self.buffers()
        try:
            with torch.no_grad():
                output = self.model(self._in_pairs(self._here(images)))
        finally:
            for hook in hooks:
                hook.remove()
            for name, buffer in self.model.named_buffers():
                if name in kept:
                    buffer.copy_(kept[name])
        found = next((layer for layer, result in made if result is output), None)
        if found is None:
            raise ValueError(
                f"model: got {type(self.model).__name__}, expected a model whose output is that of an "
                "nn.Linear. Choose another model or attack."
            )
        return found

    def image_gradient(self, images: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute the gradient of the scalar `loss(images)` with respect to the images (m, c, h, w)."""
        images = channels_last(images.detach()).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(images), images)
        return gradient

    def fit(
        self,
        samples: Samples,
        generator: torch.Generator,
        *,
        training: LocalTraining | None = None,
        memory: MutableMapping[str, Tensor] | None = None,
        part: Tensor | None = None,
        loss: Loss | None = None,
        on_gradient: Edit | None = None,
        on_step: Edit | None = None,
    ) -> float:
        """Train on `samples` from the current parameters and return the mean loss of the batches.

        Args:
            samples: the client's data, at least one sample.
            generator: random stream of the batches, and of dropout without `dropout_seed`.
            training: settings. Default: those of the trainer.
            part: positions of the samples to train on. Default: all.
            memory: storage of a persistent momentum buffer, under the key `momentum`.
            loss: loss to minimise. Default: the mean cross-entropy.
            on_gradient: edits the gradients in place before each step.
            on_step: edits the parameters in place after each step.
        """
        training = training or self.training
        count = len(samples) if part is None else len(part)
        kept = memory is not None and training.persistent_momentum
        velocity = self._velocity(memory if kept else None) if training.momentum else []
        start = self._as_parameters(self._start) if training.proximal else []
        total = torch.zeros((), device=self.device)
        steps = 0
        plain = loss is None and training.precision == "fp32"
        stack = LinearStack.of(self.model) if plain else None
        with self.stream(samples, generator):
            for index in batches(count, training, generator, part, no_single=self._no_single):
                if training.dropout_seed is not None and self._draws_globally(samples.images)[0]:
                    torch.manual_seed(training.dropout_seed)
                with drawing(self._dropouts, generator, training.dropout_seed):
                    images, labels = samples.batch(index)
                    images = channels_last(images.to(self.device))
                    labels = labels.to(self.device)
                    if stack is not None:
                        value, gradients = stack(images, labels)
                    else:
                        value, gradients = self._loss_and_gradients(images, labels, training, loss)
                    if on_gradient is not None:
                        on_gradient(gradients)
                    sgd_step(self.parameters, start, gradients, velocity, training)
                    if on_step is not None:
                        on_step(self.parameters)
                    total += value.detach()
                    steps += 1
        if kept and velocity and memory is not None:
            memory["momentum"] = flatten(velocity)
        return float(total) / steps

    def _loss_and_gradients(
        self, images: Tensor, labels: Tensor, training: LocalTraining, loss: Loss | None
    ) -> tuple[Tensor, list[Tensor]]:
        with arithmetic(training, self.device):
            value = self.loss(images, labels) if loss is None else loss(self.model, images, labels)
        return value, self._gradients(value)

    def _gradients(self, loss: Tensor) -> list[Tensor]:
        """Return the gradient of a loss by parameter, 0 for those that it does not depend on."""
        return list(torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True))

    def _velocity(self, memory: MutableMapping[str, Tensor] | None) -> list[Tensor]:
        if memory is None or "momentum" not in memory:
            return [torch.zeros_like(parameter) for parameter in self.parameters]
        return self._as_parameters(memory["momentum"].to(self.device))

    def _as_parameters(self, vector: Tensor) -> list[Tensor]:
        """Copy the vector (d,) into new tensors like the parameters."""
        tensors = [torch.empty_like(parameter) for parameter in self.parameters]
        load(vector, tensors)
        return tensors

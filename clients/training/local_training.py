"""Settings of local training, the batches of a client, and one step of SGD."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from clients.bounds import LARGEST_NUMBER, Count, NonNegative, Positive, PositiveCount, check_bounds

LEAST_RATE = 1e-45
"""Least learning rate, the smallest positive number of float32."""


@dataclass(frozen=True, kw_only=True)
class LocalTraining:
    """Settings of a client's training in one round.

    Raises:
        ValueError: A number is outside its bounds, or both `epochs` and `steps` are 0.
    """

    epochs: Count = 1
    """Passes over the local data. Ignored if `steps` is positive."""
    steps: Count = 0
    """Mini-batches per round. If 0, the client trains for `epochs`."""
    batch_size: PositiveCount = 32
    lr: Positive = 0.1
    momentum: NonNegative = 0.0
    persistent_momentum: bool = False
    """Whether a client keeps its momentum buffer from round to round (worker momentum)."""
    weight_decay: NonNegative = 0.0
    proximal: NonNegative = 0.0
    """FedProx's mu, which adds mu (w - global) to the gradient. Li et al., MLSys 2020."""
    precision: Literal["fp32", "bf16"] = "fp32"
    dropout_seed: int | None = None
    """Seed of one fixed dropout mask for all clients and steps. Default: a new mask at each step."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.epochs and not self.steps:
            raise ValueError(
                "epochs and steps: got 0 for both, expected a positive one. Set epochs or steps."
            )

    def with_lr_times(self, factor: float) -> Self:
        """Return these settings with another learning rate, as near to the product as float32 allows.

        >>> LocalTraining(lr=0.5).with_lr_times(3).lr, LocalTraining(lr=1e38).with_lr_times(10).lr
        (1.5, 3.4e+38)
        """
        return replace(self, lr=min(max(factor * self.lr, LEAST_RATE), LARGEST_NUMBER))

    def steps_for(self, count: int) -> int:
        """Return the number of mini-batches per round for a client with `count` samples.

        >>> LocalTraining(epochs=2, batch_size=32).steps_for(100)
        8
        """
        return self.steps or self.epochs * -(-count // self.batch_size)


def batches(
    count: int,
    training: LocalTraining,
    generator: torch.Generator,
    part: Tensor | None = None,
    *,
    no_single: bool = False,
) -> Iterator[Tensor]:
    """Yield the batches of one client's round as indices: new permutations, split into batches.

    With `part` (count,), the indices are the entries of `part`, positions in a larger set. With epochs, the
    last batch of a pass may be short. With steps, passes repeat until the steps are done, so all clients
    train for the same number of steps.

    With `no_single`, no batch has a single sample, since batch normalisation cannot train on one: the last
    sample of a pass joins the previous batch. A client with one sample trains on two copies of it.
    """
    size = min(training.batch_size, count)
    done = 0
    passes = 0
    while done < training.steps if training.steps else passes < training.epochs:
        order = torch.randperm(count, generator=generator)
        if part is not None:
            order = part.index_select(0, order)
        parts = list(order.split(size))
        if no_single and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])] if len(parts) > 1 else [order.repeat(2)]
        for batch in parts:
            if training.steps and done == training.steps:
                return
            done += 1
            yield batch
        passes += 1


def arithmetic(training: LocalTraining, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which losses are computed, with full or mixed precision."""
    if training.precision == "fp32":
        return nullcontext()  # entering autocast costs as much as a small layer, even where it is off
    return torch.autocast(device.type, torch.bfloat16)


@torch.no_grad()
def sgd_step(
    parameters: list[Tensor],
    start: list[Tensor],
    gradients: list[Tensor],
    velocity: list[Tensor],
    training: LocalTraining,
) -> None:
    """Update `parameters` by one step of SGD. The step also writes to `gradients` and `velocity`.

    As in torch, weight decay and the proximal term precede momentum. Stacked tensors of many clients take
    one step per client. `start` contains the parameters at the start of the round, for the proximal term.
    `velocity` contains the momentum buffers and is empty without momentum.
    """
    if training.weight_decay:
        torch._foreach_add_(gradients, parameters, alpha=training.weight_decay)
    if training.proximal:
        torch._foreach_add_(gradients, parameters, alpha=training.proximal)
        torch._foreach_add_(gradients, start, alpha=-training.proximal)
    if velocity:
        torch._foreach_mul_(velocity, training.momentum)
        torch._foreach_add_(velocity, gradients)
        gradients = velocity
    torch._foreach_add_(parameters, gradients, alpha=-training.lr)

"""MASA: make each client's model forget clean data, and reject those that forget it quickly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, InputError, Rule, RuleCard
from strategies.kernels.client_memory import round_generator
from strategies.kernels.distances import row_norms
from strategies.kernels.order_statistics import median_of
from strategies.kernels.weighted_sums import clip_factors, combine, weighted
from strategies.parameters import below_one, fraction, limit, positive


@dataclass(frozen=True, kw_only=True)
class MASA(Rule):
    """Average the updates of the models whose loss grows slowly while they unlearn clean data.

    Xu, Zhang, Hu, "Identify Backdoored Model in Federated Learning via Individual Unlearning", WACV 2025.
    Each client's update is first fused with the mean of all updates. The server then maximises the loss of
    each fused model on its root data by stochastic gradient ascent. The losses of all epochs are added. The
    median deviation score of a client is its sum minus the median of all sums, divided by their standard
    deviation. A client with a score of `threshold` or more is rejected. So is a client with a loss that
    overflows.

    Raises:
        InputError: the context has no model, no gradients, or no images and labels of the server.
    """

    fusion: float = 0.7
    """Weight of the client's own update in its fused model."""
    epochs: int = 5
    """Passes over the root data."""
    batch_size: int = 64
    """Number of samples per step."""
    lr: float = 0.001
    """Learning rate of the ascent."""
    momentum: float = 0.9
    """Momentum of the ascent."""
    clip: float = 20.0
    """Largest norm of a gradient."""
    threshold: float = 1.0
    """Score from which a client is rejected."""

    search_space: ClassVar = {"threshold": (0.5, 1.0, 2.0), "lr": (0.001, 0.01, 0.1)}
    card: ClassVar = RuleCard(
        paper="Xu et al., WACV 2025",
        needs=("root images", "root labels", "model", "gradients", "randomness"),
        cost="O(n d), and epochs x root samples gradients of every client's model, which dominate",
        deviations="The defaults are those of the authors' code for CIFAR-10. Here all clients see the "
        "batches in the same order, and the models are in evaluation mode. In the code, each client has its "
        "own order, and the models are in training mode.",
        translation_equivariant=False,
        scale_equivariant=False,
        uses_weights=True,
    )

    def __post_init__(self) -> None:
        fraction(fusion=self.fusion)
        if min(self.epochs, self.batch_size) < 1:
            raise ValueError(
                f"epochs, batch_size: got {self.epochs}, {self.batch_size}, expected at least 1 each."
            )
        positive(lr=self.lr)
        below_one(momentum=self.momentum)
        limit(clip=self.clip, threshold=self.threshold)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        losses = self.losses(updates, shares, context)
        finite = losses.isfinite()
        if not bool(finite.any()):
            raise OverflowError("the losses of all models overflow")
        spread = losses[finite].std(correction=0)
        deviations = (losses - median_of(losses[finite])) / torch.where(spread > 0, spread, 1)
        kept = torch.where(finite & (deviations < self.threshold), shares, 0)
        return weighted(kept / kept.sum().clamp(min=torch.finfo(torch.float64).tiny), updates)

    def losses(self, updates: Tensor, shares: Tensor, context: Context) -> Tensor:
        """Return the sum of each fused model's losses over the epochs of its ascent, (n,) float64."""
        if context.model is None or context.gradient is None:
            raise InputError("model: got none to train, expected `model` and `gradient` in the context.")
        if context.root_images is None or context.root_labels is None:
            raise InputError(
                "root data: got none, expected samples to unlearn; give the server root data (`root_samples` "
                "in a scenario), or `root_images` and `root_labels` in the context."
            )
        images, labels = context.root_images(), context.root_labels()
        generator = round_generator(context)
        orders = [torch.randperm(len(labels), generator=generator) for _ in range(self.epochs)]
        epochs = [
            [(images[index], labels[index]) for index in order.to(labels.device).split(self.batch_size)]
            for order in orders
        ]
        start = context.model.to(updates) + (1 - self.fusion) * combine(shares, updates)
        sums = []
        for update in updates:
            weights, velocity = start + self.fusion * update, torch.zeros_like(start)
            total = 0.0
            for batches in epochs:
                losses = []
                for batch in batches:
                    loss, gradient = context.gradient(weights, *batch)
                    losses.append(float(loss))
                    factor = clip_factors(row_norms(gradient[None]), self.clip)
                    velocity = self.momentum * velocity + gradient * factor.to(gradient)
                    weights = weights + self.lr * velocity
                total += sum(losses) / len(losses)
            sums.append(total)
        return torch.tensor(sums, dtype=torch.float64, device=updates.device)

"""Buffers of the global model: aggregated from the clients, or estimated by the server."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from clients.training.parameters import Buffers
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.federation.messages import Update
from fedpoison.federation.workers import Workers
from strategies.kernels.buffers import aggregate_buffer

BATCH = 250


def average_buffers(updates: Sequence[Update], trust: Tensor, before: Buffers) -> dict[str, Tensor]:
    """Aggregate the buffers of the clients with the trust of the rule, as `aggregate_buffer`.

    Args:
        updates: Usable replies, at least one.
        trust: Weight of each client, (n,).
        before: Global buffers before the round.
    """
    return {
        name: aggregate_buffer(torch.stack([update.buffers[name] for update in updates]), trust.cpu(), kept)
        for name, kept in before.items()
    }


def estimate_buffers(weights: Tensor, initial: Buffers, root: Samples, workers: Workers) -> dict[str, Tensor]:
    """Estimate the buffers of the global model on the root data of the server, which no client sends.

    The model starts from its initial buffers and runs on the root data in training mode, without training.
    Batch normalisation takes the mean over the batches. Andreux et al., "Siloed Federated Learning for
    Multi-Centric Histopathology Datasets", 2020, estimate the statistics of a new centre in this way.

    Args:
        weights: Global weights, (d,).
        initial: Initial buffers of the model.
        root: Clean samples.
        workers: Trainers of the model.
    """

    def run(trainer: Trainer) -> dict[str, Tensor]:
        trainer.load(weights, initial)
        layers = [layer for layer in trainer.model.modules() if isinstance(layer, _BatchNorm)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.momentum = None  # a mean in which all batches count the same
        try:
            with torch.no_grad(), trainer.stream(root, torch.Generator().manual_seed(0)):
                for images, labels in zip(root.images.split(BATCH), root.labels.split(BATCH), strict=True):
                    trainer.loss(images.to(trainer.device), labels.to(trainer.device))
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
        return trainer.buffers()

    return workers.run(run)

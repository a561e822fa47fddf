"""FLARE: weight clients by how often their representations are near those of other clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, InputError, Rule, RuleCard
from strategies.kernels.columns import one_thread
from strategies.kernels.layers import output_weights, spans
from strategies.kernels.weighted_sums import weighted
from strategies.parameters import positive

ROUNDING = 1e-9
"""Discrepancies that differ by less are equal."""


@dataclass(frozen=True, kw_only=True)
class FLARE(Rule):
    """Average the updates with the softmax of how many clients have each client among their nearest ones.

    Wang, Xiao, Chen, Hu, Lou, Hou, "FLARE: Defending Federated Learning against Model Poisoning Attacks via
    Latent Space Representations", AsiaCCS 2022. The representation of a client's model is the input of its
    output layer for images of the server. The distance of two clients is the maximum mean discrepancy of
    their representations with a Gaussian kernel. Each client counts the half of the clients with the smallest
    distances, itself included, as near.

    Raises:
        InputError: the context has no model, no predictions or no images of the server, or the output layer
            has no weight matrix (k, w).
    """

    images: int = 200
    """Largest number of root images for the representations."""
    temperature: float = 1.0
    """Number of counts, as a share of their mean, by which the weights differ by a factor of e."""

    search_space: ClassVar = {"temperature": (0.1, 0.3, 1.0, 3.0)}
    card: ClassVar = RuleCard(
        paper="Wang et al., AsiaCCS 2022",
        needs=("root images", "model", "predictions"),
        cost="O(n d), predictions of n models, and O(n^2 m^2 w) for m images and w features",
        deviations="The authors' code takes the images of one class; here all root images are taken, up to "
        "`images`. Clients with the same distance as the last near one are near, too.",
        translation_equivariant=False,
        scale_equivariant=False,
    )

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"images: got {self.images}, expected at least 1.")
        positive(temperature=self.temperature)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n = len(updates)
        distances = discrepancies(representations(updates, context, self.images))
        near = distances.sort(dim=1).values[:, max(0, n // 2 - 1)]
        counted = (distances <= near[:, None] + ROUNDING).fill_diagonal_(fill_value=False)
        counts = counted.sum(dim=0).double()
        trust = (counts / (self.temperature * counts.mean().clamp(min=1 / n))).softmax(dim=0)
        return weighted(trust, updates)


def representations(updates: Tensor, context: Context, images: int) -> Tensor:
    """Return the inputs of the output layers (n, m, w), float64, of the clients' models for m root images.

    A model with an output layer that copies features returns them as its logits, k features at a time.
    """
    if context.model is None or context.predict is None or context.layout is None:
        raise InputError(
            "model: got none to inspect, expected `model`, `layout` and `predict` in the context."
        )
    if context.root_images is None:
        raise InputError(
            "root images: got none, expected images for the representations; give the server root data "
            "(`root_samples` in a scenario), or `root_images` in the context."
        )
    position = output_weights(context.layout)
    if position is None or len(context.layout[position][1]) != 2:
        raise InputError("layout: got no output layer with a weight matrix (k, w), expected one.")
    classes, width = context.layout[position][1]
    columns = spans(context.layout, updates.shape[1])
    inputs = context.root_images()[:images]
    result = []
    for update in updates:
        weights = context.model.to(updates) + update
        if context.layout[position + 1 : position + 2] and context.layout[position + 1][1] == (classes,):
            weights[columns[position + 1]] = 0
        parts = []
        for first in range(0, width, classes):
            copied = min(classes, width - first)
            matrix = torch.zeros(classes, width, dtype=weights.dtype, device=weights.device)
            matrix[torch.arange(copied), first + torch.arange(copied)] = 1
            weights[columns[position]] = matrix.flatten()
            parts.append(context.predict(weights, inputs)[:, :copied].double())
        result.append(torch.cat(parts, dim=1))
    return torch.stack(result).to(updates.device)


def discrepancies(features: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancies (n, n), at least 0, of samples (n, m, w), float64.

    Gretton, Borgwardt, Rasch, Scholkopf, Smola, "A Kernel Two-Sample Test", JMLR 2012: the unbiased estimate,
    with the kernel exp(-|x - y|^2 / w).

    >>> points = torch.tensor([[[0.0], [0.0]], [[0.0], [0.0]], [[9.0], [9.0]]], dtype=torch.float64)
    >>> discrepancies(points)
    tensor([[0., 0., 2.],
            [0., 0., 2.],
            [2., 2., 0.]], dtype=torch.float64)
    """
    n, m, width = features.shape
    if not bool(features.isfinite().all()):
        raise OverflowError("the representations overflow")
    means = torch.zeros(n, n, dtype=features.dtype, device=features.device)
    with one_thread():  # more threads change the last bits
        for i in range(n):
            for j in range(i, n):
                squared = torch.cdist(features[i], features[j], compute_mode="donot_use_mm_for_euclid_dist")
                kernel = (-squared.square() / width).exp()
                means[i, j] = means[j, i] = kernel.sum()
    within = (means.diagonal() - m) / max(1, m * (m - 1))
    return (within[:, None] + within - 2 * means / m**2).clamp(min=0).fill_diagonal_(0)

"""DeepSight: inspect the models for signs of training data with few labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from strategies.base import Aggregate, Context, InputError, Rule, RuleCard
from strategies.kernels.client_memory import round_generator
from strategies.kernels.distances import cosine_distances, lengths_and_cosines, row_norms
from strategies.kernels.layers import output_weights, spans
from strategies.kernels.order_statistics import median_of
from strategies.kernels.weighted_sums import clip_factors, weighted
from strategies.parameters import fraction

NEIGHBOURS = 3
"""Number of nearest other rows that give the density of a row in HDBSCAN."""
EPSILON = 1e-6
"""Least probability, so that the quotients of predictions are finite."""

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DeepSight(Rule):
    """Average the clipped updates of the clusters with few models trained on uniform labels.

    Rieger, Nguyen, Miettinen, Sadeghi, "DeepSight: Mitigating Backdoor Attacks in Federated Learning
    Through Deep Model Inspection", NDSS 2022. HDBSCAN clusters the clients by the output layer's update
    energies (NEUP), by the quotients of their models' and the global model's predictions on noise (DDif), and
    by the angles of the output biases. The three clusterings vote on the last one. An update is suspicious if
    few output neurons changed much (threshold exceedings). The updates are clipped to their median norm. If
    no cluster is accepted, the model does not change.

    Raises:
        InputError: the context lacks the layout, the model, `predict` or `image_shape`, or the layout has
            no output layer.
    """

    images: int = 256
    """Number of noise images per DDif. The paper draws 20,000."""
    seeds: int = 3
    """Number of DDifs, each with its own noise."""
    suspicious_share: float = 1 / 3
    """Share of suspicious updates from which a cluster is rejected."""

    search_space: ClassVar = {"suspicious_share": (0.2, 1 / 3, 0.5)}
    card: ClassVar = RuleCard(
        paper="Rieger et al., NDSS 2022",
        needs=("model", "predictions", "randomness"),
        precondition="n >= 3",
        cost="O(n^2 d), and seeds x images predictions of every client's model, which dominate",
        deviations="The paper draws 20,000 images per DDif; here 256 give the same clusters in less time. "
        "HDBSCAN uses 3 neighbours and clusters of 5 or more, as FLPoison does with the library "
        "hdbscan, which does not count a row as its own neighbour. Of equal distances, its default "
        "algorithm may link other rows than its exact one, which is used here. An update in no "
        "cluster of the last clustering is a cluster of its own; FLPoison rejects it. DDifs divide class "
        "probabilities; FLPoison divides logits.",
        translation_equivariant=False,
        scale_equivariant=False,
    )

    def __post_init__(self) -> None:
        if min(self.images, self.seeds) < 1:
            raise ValueError(f"images, seeds: got {self.images}, {self.seeds}, expected at least 1 each.")
        fraction(suspicious_share=self.suspicious_share)

    @property
    def minimum(self) -> int:
        return 3

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        matrix, bias = output_layer(updates, context)
        energies = update_energies(matrix, bias)
        suspicious = exceedance_counts(energies)
        suspicious = 2 * suspicious <= median_of(suspicious)
        votes = [
            cluster_distances(
                cosine_distances(lengths_and_cosines(bias)[1]).cpu().numpy(), metric="precomputed"
            ),
            cluster_distances(energies.cpu().numpy()),
            np.mean(
                [cluster_distances(ddif) for ddif in self.division_differences(updates, context)], axis=0
            ),
        ]
        clusters = hdbscan(np.mean(votes, axis=0), metric="precomputed", allow_single_cluster=True)
        kept = self.accepted(clusters, suspicious.cpu().numpy())
        sizes = row_norms(updates)
        factors = clip_factors(sizes, median_of(sizes))
        admitted = torch.as_tensor(kept, device=updates.device)
        return weighted(torch.where(admitted, factors, 0) / max(1, kept.sum()), updates)

    def division_differences(self, updates: Tensor, context: Context) -> list[npt.NDArray[np.float64]]:
        """Return, for each seed, the mean quotients of client and global predictions, (n, k)."""
        if context.model is None or context.predict is None or context.image_shape is None:
            raise InputError(
                "model: got none to inspect, expected `model`, `predict` and `image_shape` in the context."
            )
        generator, shape = round_generator(context), (self.images, *context.image_shape)
        noise = torch.cat([torch.rand(shape, generator=generator) for _ in range(self.seeds)])
        usual = context.predict(context.model, noise).double().softmax(dim=1) + EPSILON
        quotients = [
            (context.predict(context.model + update, noise).double().softmax(dim=1) / usual)
            .unflatten(0, (self.seeds, self.images))
            .mean(dim=1)
            for update in updates
        ]
        return list(np.nan_to_num(torch.stack(quotients, dim=1).cpu().numpy()))

    def accepted(self, clusters: Labels, suspicious: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return a mask (n,) of the clients in clusters that are not too suspicious."""
        kept = ~suspicious
        for label in set(clusters[clusters >= 0].tolist()):
            members = clusters == label
            kept[members] = suspicious[members].mean() < self.suspicious_share
        return kept


def output_layer(updates: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    """Return the output layer's part of each update: weights (n, k, h) and biases (n, k)."""
    position = output_weights(context.layout)
    if context.layout is None or position is None:
        raise InputError(
            "layout: got no weight matrix, expected the model's layers. Pass `layout` in the context."
        )
    columns = spans(context.layout, updates.shape[1])
    classes = context.layout[position][1][0]
    matrix = updates[:, columns[position]].reshape(len(updates), classes, -1)
    follows = position + 1 < len(columns) and context.layout[position + 1][1] == (classes,)
    bias = updates[:, columns[position + 1]] if follows else matrix.new_zeros(len(updates), classes)
    return matrix, bias


def update_energies(matrix: Tensor, bias: Tensor) -> Tensor:
    """Return the normalised energies (n, k) of the output neurons' updates (NEUP), float64."""
    energies = (matrix.abs().sum(dim=2, dtype=torch.float64) + bias.abs()).double()
    shares = energies / energies.amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    squared = shares.square()
    return squared / squared.sum(dim=1, keepdim=True).clamp(min=1)


def exceedance_counts(energies: Tensor) -> Tensor:
    """Return the number of energies (n, k) above max(0.01, 1/k) times the row's largest, (n,)."""
    threshold = max(0.01, 1 / energies.shape[1]) * energies.amax(dim=1, keepdim=True)
    return (energies > threshold).sum(dim=1).double()


def cluster_distances(
    features: npt.NDArray[np.float64], metric: str = "euclidean"
) -> npt.NDArray[np.float64]:
    """Return 0 where two rows get the same label from HDBSCAN, noise included, and 1 elsewhere, (n, n)."""
    labels = hdbscan(features, metric=metric)
    return np.not_equal(labels[:, None], labels[None, :]).astype(np.float64)


def hdbscan(features: npt.NDArray[np.float64], *, metric: str, allow_single_cluster: bool = False) -> Labels:
    """Return the cluster of each row (n,), or -1 for a row in no cluster.

    >>> numbers = np.array([3.0, 8, 8, 9, 10, 17, 20, 24, 28, 29])
    >>> hdbscan(numbers[:, None], metric="euclidean").tolist()
    [-1, -1, -1, -1, -1, -1, -1, -1, -1, -1]
    """
    from sklearn.cluster import HDBSCAN  # noqa: PLC0415  # a second to import, for this rule alone

    clustering = HDBSCAN(
        min_samples=min(NEIGHBOURS + 1, len(features)),  # scikit-learn counts the row itself
        metric=metric,
        allow_single_cluster=allow_single_cluster,
        copy=True,
    )
    labels: Labels = clustering.fit_predict(features)
    return labels

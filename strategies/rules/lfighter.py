"""LFighter: cluster the output layer's updates of the two classes that changed most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.clusters import two_clusters
from strategies.kernels.distances import lengths_and_cosines
from strategies.kernels.layers import output_weights, spans
from strategies.kernels.weighted_sums import mean_of


@dataclass(frozen=True, kw_only=True)
class LFighter(Rule):
    """Average the updates of the larger and less dense of two clusters, as a defence against label flips.

    Jebreel, Domingo-Ferrer, Sanchez, Blanco-Justicia, "LFighter: Defending against the label-flipping attack
    in federated learning", Neural Networks 2024. The two output neurons whose weights and biases changed most
    in all updates together are taken for the source and the target of a flip. The clients' updates of their
    weights are clustered by 2-means. The clients of label flips send similar updates, so the cluster is kept
    whose size times its dissimilarity is larger: the mean of 1 minus each client's smallest cosine. With two
    classes, all output weights are clustered, and without a layout, all coordinates.
    """

    card: ClassVar = RuleCard(
        paper="Jebreel et al., Neural Networks 2024",
        cost="O(n d), and clusters of the weights of two output neurons",
        deviations="2-means starts from the two most distant clients; the authors' code starts from random "
        "ones. If both clusters score the same, all clients are kept; the code keeps one cluster.",
        translation_equivariant=False,
    )

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        features = suspected_neurons(updates, context)
        second = two_clusters(features)
        scores = [dissimilarity(features, cluster) for cluster in (~second, second)]
        if not bool(second.any()) or scores[0] == scores[1]:
            kept = torch.ones_like(second)
        else:
            kept = second if scores[1] > scores[0] else ~second
        return mean_of(kept.nonzero().flatten(), updates)


def suspected_neurons(updates: Tensor, context: Context) -> Tensor:
    """Return the updates' columns (n, 2 w) of the two output neurons that changed most."""
    position = output_weights(context.layout)
    if position is None or context.layout is None:
        return updates
    n, d = updates.shape
    columns = spans(context.layout, d)
    classes = context.layout[position][1][0]
    weights = updates[:, columns[position]].reshape(n, classes, -1)
    if classes <= 2:
        return weights.flatten(1)
    changes = torch.linalg.vector_norm(weights, dim=2, dtype=torch.float64)
    if context.layout[position + 1 : position + 2] and context.layout[position + 1][1] == (classes,):
        changes += updates[:, columns[position + 1]].abs()
    total = changes.sort(dim=0).values.sum(dim=0)  # the same sum in any order of clients
    return weights[:, total.sort(stable=True).indices[-2:]].flatten(1)


def dissimilarity(features: Tensor, cluster: Tensor) -> float:
    """Return the size of a `cluster` (n,) of `features` (n, k), times the mean of 1 minus the least cosines.

    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> dissimilarity(rows, torch.tensor([True, True, False]))
    0.6666666666666666
    """
    if not bool(cluster.any()):
        return 0.0
    _, angles = lengths_and_cosines(features[cluster])
    least = angles.fill_diagonal_(0).min(dim=1).values.sort().values
    return int(cluster.sum()) / len(cluster) * float(1 - least.mean())

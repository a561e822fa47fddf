"""RFLBAT: cluster the updates in their plane of largest variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.client_memory import round_generator
from strategies.kernels.columns import one_thread
from strategies.kernels.distances import lengths_and_cosines, squared_distances
from strategies.kernels.order_statistics import median_of
from strategies.kernels.weighted_sums import mean_of
from strategies.parameters import limit

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

CLUSTERS = 9
"""Largest number of clusters."""
SAMPLES = 5
"""Number of uniform samples of the gap statistic."""

LEAST_SPREAD = 1e-10
"""Added to each sum of distances, so that its logarithm is finite."""

DIGITS = 9
"""Decimal places of the points to cluster. Their range is 1."""

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RFLBAT(Rule):
    """Average the updates of the cluster whose members are least alike, without those far from the others.

    Wang, Zhai, Zhan, Cao, "RFLBAT: A Robust Federated Learning Algorithm against Backdoor Attack", 2022.
    Principal component analysis projects the updates onto a plane. Updates far from the others are rejected.
    The others are clustered by k-means, where the gap statistic gives k. The malicious updates are taken to
    be alike: the cluster is kept in which the median of the mean cosines is smallest. Clusters of one client
    are rejected, unless there is no other. In the kept cluster, updates far from the others are rejected.
    """

    first: float = 10.0
    """Largest sum of distances before clustering, as a multiple of the median sum, epsilon 1 in the paper."""
    second: float = 4.0
    """Largest sum of distances in the kept cluster, as a multiple of the median sum, epsilon 2."""

    search_space: ClassVar = {"first": (3.0, 10.0), "second": (2.0, 4.0, 8.0)}
    card: ClassVar = RuleCard(
        paper="Wang et al., 2022",
        needs=("randomness",),
        cost="O(n^2 d)",
        deviations="The numbers of clusters and of samples, and the gap statistic, are BackFed's. BackFed "
        "takes plain averaging if fewer than 2 updates pass the first bound.",
        permutation_equivariant=False,  # the first centres of k-means are drawn
    )

    def __post_init__(self) -> None:
        limit(first=self.first, second=self.second)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        plane = principal_plane(squared_distances(updates))
        _, angles = lengths_and_cosines(updates)
        everybody = torch.arange(len(updates), device=updates.device)
        kept = near_the_others(plane, everybody, self.first)
        kept = kept[least_alike(angles[kept][:, kept], clusters(plane[kept].cpu().numpy(), context))]
        return mean_of(near_the_others(plane, kept, self.second), updates)


def principal_plane(squared: Tensor) -> Tensor:
    """Return the first two principal coordinates (n, 2) of rows with these `squared` distances (n, n).

    >>> principal_plane(torch.tensor([[0.0, 4.0], [4.0, 0.0]])).abs().round(decimals=3)
    tensor([[1., 0.],
            [1., 0.]])

    Raises:
        OverflowError: a distance is not finite.
    """
    if not bool(squared.isfinite().all()):
        raise OverflowError("the squared distances overflow")
    means = squared.mean(dim=0)
    centred = (means[:, None] + means - squared - means.mean()) / 2
    with one_thread():  # more threads change the last bits of the eigenvectors
        values, vectors = torch.linalg.eigh(centred)
    axes = vectors * values.clamp(min=0).sqrt()
    plane = squared.new_zeros(len(squared), 2)
    plane[:, : min(2, len(axes))] = axes.flip(1)[:, :2]
    return plane


def near_the_others(plane: Tensor, rows: Tensor, bound: float) -> Tensor:
    """Return those of `rows` (m,) whose sum of distances to the others is below `bound` medians."""
    distances = torch.cdist(plane[rows], plane[rows]).sum(dim=1)
    median = median_of(distances)
    return rows[(distances < bound * median) | (distances <= median)]


def least_alike(angles: Tensor, labels: Tensor) -> Tensor:
    """Return the members (m,) of the cluster with the smallest median of mean cosines (n, n).

    >>> alike, unlike = torch.tensor([[1.0, 0.9], [0.9, 1.0]]), torch.tensor([[1.0, 0.2], [0.2, 1.0]])
    >>> angles = torch.block_diag(alike, unlike)
    >>> least_alike(angles, torch.tensor([0, 0, 1, 1]))
    tensor([2, 3])
    """
    members = [(labels == label).nonzero().flatten() for label in labels.unique()]
    candidates = [each for each in members if len(each) > 1] or members
    scores = [float(median_of(angles[each][:, each].mean(dim=1))) for each in candidates]
    best: Tensor = candidates[scores.index(min(scores))]
    return best


def clusters(points: Points, context: Context) -> Tensor:
    """Return the cluster (n,) of each of `points` (n, 2), where the gap statistic gives the number.

    Tibshirani, Walther, Hastie, "Estimating the number of clusters in a data set via the gap statistic",
    Journal of the Royal Statistical Society B 2001. The samples are uniform in the unit square, and the
    points are scaled to it.
    """
    span = np.ptp(points, axis=0)
    points = (points / (span.max() or 1)).round(DIGITS)  # equal points are equal to the last bit
    different = len(np.unique(points, axis=0))
    generator = round_generator(context)
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1)
    samples = torch.rand(SAMPLES, *points.shape, generator=generator, dtype=torch.float64).numpy()
    seed = int(torch.randint(2**31, (), generator=generator))
    gaps, errors = [], []
    for count in range(1, min(CLUSTERS, different) + 1):
        reference = np.log([spread(sample, count, seed) for sample in samples])
        gaps.append(float(reference.mean() - np.log(spread(scaled, count, seed))))
        errors.append(float(reference.std() * np.sqrt(1 + 1 / SAMPLES)))
    enough = [k for k in range(1, len(gaps)) if gaps[k - 1] >= gaps[k] - errors[k]]
    return torch.from_numpy(k_means(points, (enough or [len(gaps)])[0], seed).labels_)


def spread(points: Points, count: int, seed: int) -> float:
    """Return the sum of distances of `points` (n, 2) from the centres of `count` clusters, above 0."""
    clustering = k_means(points, count, seed)
    distances = np.linalg.norm(points - clustering.cluster_centers_[clustering.labels_], axis=1)
    return float(distances.sum()) + LEAST_SPREAD


def k_means(points: Points, count: int, seed: int) -> KMeans:
    """Return k-means of `points` (n, 2) with `count` clusters, from centres drawn with `seed`."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  # a second to import, for few rules

    return KMeans(n_clusters=count, n_init=1, random_state=seed).fit(points)

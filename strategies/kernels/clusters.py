"""Clusters of updates, given their distances."""

from __future__ import annotations

import torch
from torch import Tensor


def majority_cluster(distances: Tensor) -> Tensor:
    """Return the clients (n,) in HDBSCAN's cluster of more than half of them, given distances (n, n).

    If there is no such cluster, no client is in it. One or two clients always are, as are clients without a
    distance.

    >>> distances = 1.0 - torch.eye(4)
    >>> distances[:3, :3] *= 0.1
    >>> majority_cluster(distances)
    tensor([ True,  True,  True, False])
    """
    from sklearn.cluster import HDBSCAN  # noqa: PLC0415  # a second to import, for few rules

    n = len(distances)
    if n <= 2 or not bool(distances.any()):
        return torch.ones(n, dtype=torch.bool, device=distances.device)
    clustering = HDBSCAN(
        min_cluster_size=n // 2 + 1,
        min_samples=1,
        metric="precomputed",
        allow_single_cluster=True,
        copy=True,
    )
    labels = clustering.fit_predict(distances.cpu().numpy())
    return torch.as_tensor(labels == 0, device=distances.device)


def two_clusters(points: Tensor) -> Tensor:
    """Return which of `points` (n, k) are in the second of two clusters of 2-means, (n,).

    The first centres are the two points farthest apart, so the clusters do not depend on the order of points.
    If all points are equal, none is in the second cluster.

    Raises:
        OverflowError: a distance is not finite.

    >>> two_clusters(torch.tensor([[0.0], [9.0], [1.0]]))
    tensor([False,  True, False])
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415  # a second to import, for few rules

    n = len(points)
    rows = points.double().cpu()
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    if not bool(distances.isfinite().all()):
        raise OverflowError("the distances overflow")
    if not bool(distances.any()):
        return torch.zeros(n, dtype=torch.bool, device=points.device)
    ends = divmod(int(distances.argmax()), n)
    clustering = KMeans(n_clusters=2, init=rows[list(ends)].numpy(), n_init=1)
    return torch.as_tensor(clustering.fit_predict(rows.numpy()) == 1, device=points.device)

"""Mean shift with a flat window: clusters are what climbs to the same peak of density."""

from __future__ import annotations

import torch
from torch import Tensor

SAME = 1e-6
"""The least bandwidth: points closer than this are one."""
PASSES = 300
EXACT = "donot_use_mm_for_euclid_dist"


def mean_shift(points: Tensor, *, quantile: float = 0.5) -> Tensor:
    """Return the cluster of each of `points` (n, k), the densest peak's first, -1 for points far from any.

    Comaniciu, Meer, "Mean Shift: A Robust Approach toward Feature Space Analysis", TPAMI 2002. The window's
    radius is the mean distance to the nearest `quantile` of the points, as in scikit-learn, which climbs
    from one point at a time; here all climb at once.

    >>> mean_shift(torch.tensor([[0.0], [0.1], [0.0], [5.0]]))
    tensor([0, 0, 0, 1])
    """
    nearest = max(1, int(quantile * len(points)))
    radius = torch.cdist(points, points, compute_mode=EXACT).sort(dim=1).values[:, nearest - 1]
    radius = radius.sort().values.mean().clamp(min=SAME)
    peaks = points
    for _ in range(PASSES):
        inside = (torch.cdist(peaks, points, compute_mode=EXACT) <= radius).to(points.dtype)
        moved = inside @ points / inside.sum(dim=1, keepdim=True)
        shift = (moved - peaks).norm(dim=1).max()
        peaks = moved
        if shift <= 1e-3 * radius:
            break
    crowd = (torch.cdist(peaks, points, compute_mode=EXACT) <= radius).sum(dim=1)
    centres: list[Tensor] = []
    for index in sorted(range(len(points)), key=lambda i: (int(crowd[i]), peaks[i].tolist()), reverse=True):
        if all(float((peaks[index] - centre).norm()) > radius for centre in centres):
            centres.append(peaks[index])
    distance, label = torch.cdist(points, torch.stack(centres), compute_mode=EXACT).min(dim=1)
    return torch.where(distance <= radius, label, -1)

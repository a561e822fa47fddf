"""Inner products of updates as seen from their midst."""

from __future__ import annotations

from torch import Tensor

from strategies.distances import gram

FAR = 100.0
"""How often as far from the others, squared, the origin may lie as the most central row does."""


def central_gram(updates: Tensor) -> tuple[Tensor, float]:
    """Return the rows' inner products (n, n), float64, and the squared distance that is typical of them.

    The origin is the first row unless that lies far off: then it is the row whose median distance to the
    others is smallest. So each product is as precise as its own two rows are long, and an update far out
    blurs none but its own.

    >>> import torch
    >>> products, typical = central_gram(torch.tensor([[900.0], [1.0], [2.0], [4.0]]))
    >>> products.diagonal().tolist(), typical
    ([808201.0, 0.0, 1.0, 9.0], 1.0)
    """
    products = gram(updates, origin=updates[0])
    spread = _median_distances(products)
    central = int(spread.argmin())
    if bool(spread[0] > FAR * spread[central]):
        products = gram(updates, origin=updates[central])
        spread = _median_distances(products)
    return products, float(spread.min())


def _median_distances(products: Tensor) -> Tensor:
    """Return the median squared distance (n,) of each row to all rows, itself included."""
    norms = products.diagonal()
    squared = (norms[:, None] + norms - 2 * products).clamp(min=0)
    ordered = squared.fill_diagonal_(0).sort(dim=1).values  # CUDA's median is not deterministic
    return ordered[:, (len(ordered) - 1) // 2]

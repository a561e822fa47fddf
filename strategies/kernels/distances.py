"""Inner products, norms and distances of updates, exact also for nearly equal rows.

The formula |x|^2 + |y|^2 - 2 x y needs only one product of matrices, but cancels if the distance is much
smaller than the rows. So the rows are centred first, sums of chunks are added in float64, and groups of close
rows are measured again from one of their own rows.
"""

from __future__ import annotations

import threading
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from strategies.kernels.columns import CACHED, PADDING, STREAMED, columns_of, sum_over_chunks
from strategies.kernels.order_statistics import ascending

Power = Literal[1, 2, 4]
"""Exponent of the distances in Krum's scores."""

MULTIPLIED = 1_600_000
"""Number of values per chunk of a product of matrices, which is fast with long rows."""
LEAST_COLUMNS = 2048
"""Smallest number of columns of such a chunk, whose result is n x n."""
CLOSE = 1e-3
"""Smallest squared distance, as a share of the squared norms, that is not measured again from a close row."""
LEAST, LARGEST = 1e-25, 1e30
"""Range of squared norms for float32 products. Outside it, products are computed in float64."""


def centred_gram(updates: Tensor) -> Tensor:
    """Return the inner products (n, n), float64, of the rows moved so that the first row is the origin.

    Distances between nearly equal rows are exact, because the common part is subtracted before the product.
    """
    return gram(updates, origin=updates[0])


def gram(updates: Tensor, *, origin: Tensor | None = None) -> Tensor:
    """Return the inner products (n, n), float64, of the rows of `updates` (n, d) minus `origin` (d,).

    Sums within a chunk have the updates' precision. The sums of chunks are added in float64.
    """
    products = _gram(updates, origin, torch.promote_types(updates.dtype, torch.float32))
    longest = float(products.diagonal().max())
    if LEAST < longest < LARGEST or updates.dtype == torch.float64:
        return products
    return _gram(updates, origin, torch.float64)


def squared_distances(updates: Tensor) -> Tensor:
    """Return the squared Euclidean distances (n, n), float64, between the rows of `updates` (n, d).

    Rows that are close together, compared with their distance from the first row, are measured again from one
    of these rows. So a client with a very large update cannot blur the distances between the others.

    >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[ 0., 25.],
            [25.,  0.]], dtype=torch.float64)
    """
    products = centred_gram(updates)
    norms = products.diagonal()
    distances = distances_from_gram(products)
    sums = norms[:, None] + norms
    for rows in _groups(distances < CLOSE * sums):
        distances[rows[:, None], rows] = squared_distances(updates[rows])
    return distances


def distances_from_gram(products: Tensor) -> Tensor:
    """Return the squared distances (n, n) between rows, given their inner products (n, n).

    >>> distances_from_gram(torch.tensor([[0.0, 0.0], [0.0, 25.0]]))
    tensor([[ 0., 25.],
            [25.,  0.]])
    """
    squares = products.diagonal()
    # The two halves of a product may differ in their last bits. Their sum is symmetric.
    distances = squares[:, None] + squares - (products + products.T)
    return distances.clamp_(min=0).fill_diagonal_(0)


def krum_scores(squared: Tensor, *, neighbours: int, power: Power = 2) -> Tensor:
    """Compute Krum's scores: the sum of the distances of each update to its nearest neighbours, (n,) float64.

    Krum, Multi-Krum and Bulyan select by this score, and attacks on them predict it.

    Args:
        squared: squared distances between the updates, (n, n).
        neighbours: number of nearest others that count, 1 to n - 1.
        power: exponent of the distance, 2 in the paper.

    >>> krum_scores(torch.tensor([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]), neighbours=1)
    tensor([1., 1., 4.])
    """
    others = squared.clone().fill_diagonal_(torch.inf)
    nearest = ascending(others)[:, :neighbours]
    return nearest.pow(power / 2).sum(dim=1)


def row_norms(updates: Tensor, *, origin: Tensor | None = None) -> Tensor:
    """Return the Euclidean norms (n,), float64, of the rows of `updates` (n, d) minus `origin` (d,).

    >>> row_norms(torch.tensor([[3.0, 4.0]]))
    tensor([5.], dtype=torch.float64)
    """
    norms = _row_norms(updates, origin, updates.dtype)
    in_range = (norms > LEAST**0.5) & (norms < LARGEST**0.5)
    if updates.dtype != torch.float64 and not bool(in_range.all()):
        norms[~in_range] = _row_norms(updates[~in_range], origin, torch.float64)
    return norms


def norms_around(products: Tensor, coefficients: Tensor) -> Tensor:
    """Return the distances (n,) of rows from their combination with `coefficients` (n,), float64.

    Args:
        products: the rows' inner products, (n, n) float64, from an origin whose coefficient is the rest to a
            sum of 1.
        coefficients: (n,) float64.

    >>> line = torch.tensor([0.0, 4.0])
    >>> norms_around(line[:, None] * line, torch.tensor([0.75, 0.25]))
    tensor([1., 3.])
    """
    towards = products @ coefficients
    squares = products.diagonal() - 2 * towards + coefficients @ towards
    return squares.clamp(min=0).sqrt()


def _row_norms(updates: Tensor, origin: Tensor | None, dtype: torch.dtype) -> Tensor:
    def work(columns: slice) -> Tensor:
        block = updates[:, columns].to(dtype)
        if origin is not None:
            block = block - origin[columns]
        part: Tensor = torch.linalg.vector_norm(block, dim=1)
        return part.double().square()

    values = STREAMED if origin is None else CACHED  # rows minus an origin are copied, and stay in the cache
    return sum_over_chunks(work, updates, (len(updates),), values=values).sqrt()


def _gram(updates: Tensor, origin: Tensor | None, dtype: torch.dtype) -> Tensor:
    n = len(updates)
    values = max(MULTIPLIED, n * LEAST_COLUMNS)
    scratch = _Scratch(n, columns_of(n, values), dtype)

    def work(columns: slice) -> Tensor:
        block = updates[:, columns].to(dtype)
        start = None if origin is None else origin[columns].to(dtype)
        if updates.device.type == "cpu":
            return scratch.product(block, start)
        block = block if start is None else block - start
        return block @ block.T

    return sum_over_chunks(work, updates, (n, n), values=values)


class _Scratch(threading.local):
    """A buffer per thread: new memory for every chunk would take longer than the copies.

    NumPy computes only one half of the symmetric product, while torch computes both.
    """

    def __init__(self, n: int, size: int, dtype: torch.dtype) -> None:
        self._rows = torch.empty(n, size + PADDING, dtype=dtype).numpy()

    def product(self, block: Tensor, origin: Tensor | None) -> Tensor:
        """Return the inner products (n, n) of the rows of `block` (n, c) minus `origin` (c,)."""
        rows = self._rows[:, : block.shape[1]]
        with np.errstate(over="ignore", invalid="ignore"):  # `gram` and the rules check the result
            if origin is None:
                np.copyto(rows, block.detach().numpy())
            else:
                np.subtract(block.detach().numpy(), origin.detach().numpy(), out=rows)
            return torch.from_numpy(rows @ rows.T)


def _groups(related: Tensor) -> list[Tensor]:
    """Return the connected components with more than one member of a symmetric relation (n, n).

    The first row is the origin and never close to another row, so the recursion on components ends.
    """
    groups = []
    left = related.fill_diagonal_(fill_value=False).any(dim=1)
    while bool(left.any()):
        member = torch.zeros_like(left)
        member[left.nonzero()[0]] = True
        reached = member
        while bool(reached.any()):
            reached = related[reached].any(dim=0) & ~member
            member = member | reached
        groups.append(member.nonzero().flatten())
        left &= ~member
    return groups


NOTHING = 1e-6
"""A cosine distance below this is rounding: the rows point the same way."""


def lengths_and_cosines(updates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the norms (n,) of the rows of `updates` (n, d) and the cosines (n, n) between them, in float64.

    A row of zeros has cosine 0 with every row, itself included.

    Raises:
        OverflowError: an inner product is not finite.

    >>> lengths_and_cosines(torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))[1][0]
    tensor([ 1.,  0., -1.], dtype=torch.float64)
    """
    products = gram(updates)
    if not bool(products.isfinite().all()):
        raise OverflowError("the squared norms overflow")
    sizes = products.diagonal().sqrt()
    scale = torch.where(sizes > 0, sizes, 1)
    angles = products / (scale[:, None] * scale)
    angles = ((angles + angles.T) / 2).clamp_(-1, 1)
    angles.diagonal().copy_(sizes > 0)
    return sizes, angles


def cosine_distances(angles: Tensor) -> Tensor:
    """Return 1 minus the cosines (n, n), and exactly 0 on the diagonal and below `NOTHING`.

    >>> cosine_distances(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    tensor([[0.0000, 0.5000],
            [0.5000, 0.0000]])
    """
    distances = 1 - angles
    distances[distances < NOTHING] = 0
    return distances.fill_diagonal_(0)


def inner_products(updates: Tensor, vector: Tensor) -> Tensor:
    """Return the inner products (n,), float64, of the rows of `updates` (n, d) with `vector` (d,).

    >>> inner_products(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([2.0, 1.0]))
    tensor([4., 3.], dtype=torch.float64)
    """

    def work(columns: slice) -> Tensor:
        part: Tensor = updates[:, columns].double() @ vector[columns].to(updates.device).double()
        return part

    return sum_over_chunks(work, updates, (len(updates),))


def cosines_with(vector: Tensor, updates: Tensor, sizes: Tensor) -> Tensor:
    """Return the cosines (n,) of `updates` (n, d) of norms `sizes` (n,) with `vector` (d,).

    A vector of zeros has cosine 0.

    >>> cosines_with(torch.tensor([2.0, 0.0]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 3]))
    tensor([1., 0.], dtype=torch.float64)
    """
    scale: Tensor = sizes.double() * torch.linalg.vector_norm(vector.double())
    return inner_products(updates, vector) / torch.where(scale > 0, scale, 1)

"""Order statistics per coordinate, at the speed of a vectorised sort in the processor's cache.

`torch.sort` along the clients reads with a stride of d values and sorts one column at a time. Here, chunks of
columns that fit in the cache are sorted instead: with few clients by a sorting network, otherwise transposed,
so that the values of a coordinate are contiguous, and by NumPy. Both release the interpreter lock, so several
threads sort at a time. On an accelerator, torch sorts.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from strategies.kernels.columns import CACHED, PADDING, columns_of, sum_over_chunks


@functools.cache
def comparators(n: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs (low, high) of rows to compare, in order: Batcher's odd-even merge sort.

    Batcher, "Sorting Networks and Their Applications", AFIPS Spring Joint Computer Conference 1968; in the
    iterative form of Knuth, "The Art of Computer Programming", volume 3, section 5.2.2, algorithm M.

    >>> comparators(4)
    ((0, 2), (1, 3), (0, 1), (2, 3), (1, 2))
    """
    pairs = []
    top = 1 << max(0, (n - 1).bit_length() - 1)
    for step in _halves(top):
        within, apart, reach = 0, step, top
        while True:
            pairs += [(low, low + apart) for low in range(n - apart) if low & step == within]
            if reach == step:
                break
            within, apart, reach = step, reach - step, reach // 2
    return tuple(pairs)


def sort_columns(rows: np.ndarray, spare: np.ndarray, out: np.ndarray) -> None:
    """Write the rows (n, c) to `out` (n, c) so that every column ascends.

    Args:
        rows: finite values; overwritten.
        spare: (c,), overwritten.
        out: must not share memory with `rows`.
    """
    lines = list(rows)
    for low, high in comparators(len(lines)):
        np.minimum(lines[low], lines[high], out=spare)
        np.maximum(lines[low], lines[high], out=lines[high])
        lines[low], spare = spare, lines[low]  # swap the buffers instead of copying the smaller values
    for line, place in zip(lines, out, strict=True):
        np.copyto(place, line)


def _halves(top: int) -> list[int]:
    return list(itertools.takewhile(bool, (top >> shift for shift in range(top.bit_length()))))


Reader = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""`reader(ordered (c, n), values (c, n)) -> (result (c,), kept share summed over the chunk (n,))`."""

FEW = 28
"""Largest number of clients for the network: it is 3 times as fast with 13, 1.4 times with 25, even with
32."""


def over_sorted_columns(
    updates: Tensor, reader: Reader, *, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Apply `reader` to every chunk of columns and return the results (d,) and the summed shares (n,).

    With `rows` (m,), only these rows of the updates are used, and the shares belong to them, (m,).

    Several threads compute the chunks, which are always cut and added in the same order. So the number of
    threads does not change a bit of the result.
    """
    n = len(updates) if rows is None else len(rows)
    d = updates.shape[1]
    result = torch.empty(d, dtype=updates.dtype, device=updates.device)
    scratch = _Scratch(n, columns_of(len(updates), CACHED))

    def work(columns: slice) -> Tensor:
        block = updates[:, columns] if rows is None else updates[rows, columns]
        if _in_numpy(block):
            ordered, values = scratch.sorted(block.detach().numpy())
        else:
            values = block.T
            ordered = ascending(values)
        result[columns], kept = reader(ordered, values)
        return kept

    return result, sum_over_chunks(work, updates, (n,))


def ascending(values: Tensor) -> Tensor:
    """Return `values` sorted along the last axis, in new memory."""
    if not _in_numpy(values):
        return values.sort(dim=-1).values
    ordered = values.clone(memory_format=torch.contiguous_format)
    ordered.numpy().sort(axis=-1)
    return ordered


def shares_within(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the number of coordinates in which each client's value is in [low, high], (n,) float64.

    Args:
        values: (c, n), one row per coordinate.
        low: (c,), the smallest value kept.
        high: (c,), the largest value kept.
    """
    if not _in_numpy(values):
        return ((values >= low[:, None]) & (values <= high[:, None])).sum(dim=0).double()
    columns = values.numpy()
    kept = columns >= low.contiguous().numpy()[:, None]
    kept &= columns <= high.contiguous().numpy()[:, None]
    # Eight coordinates per byte, whose bits are counted: much faster than a sum of truth values.
    return torch.from_numpy(np.bitwise_count(np.packbits(kept, axis=0)).sum(axis=0, dtype=np.float64))


class _Scratch(threading.local):
    """Buffers per thread: new memory for every chunk would take longer than the copies."""

    def __init__(self, n: int, size: int) -> None:
        self._size = size
        self._allocate(n, np.dtype(np.float32))

    def sorted(self, block: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return `block` (n, c) transposed (c, n), sorted and unsorted, valid until the next call."""
        n, count = block.shape
        if block.dtype != self._rows.dtype:
            self._allocate(n, block.dtype)
        rows = self._rows[:, :count]
        np.copyto(rows, block)
        if n <= FEW:
            ordered = self._ordered[:, :count]
            sort_columns(rows, self._spare[:count], ordered)
            return torch.from_numpy(ordered.T), torch.from_numpy(block.T)
        columns = self._columns[:count]
        np.copyto(columns, rows.T)
        columns.sort(axis=-1)
        return torch.from_numpy(columns), torch.from_numpy(rows.T)

    def _allocate(self, n: int, dtype: np.dtype) -> None:
        self._rows = np.empty((n, self._size + PADDING), dtype=dtype)
        if n <= FEW:
            self._ordered = np.empty_like(self._rows)
            self._spare = np.empty(self._size, dtype=dtype)
        else:
            self._columns = np.empty((self._size, n), dtype=dtype)


def _in_numpy(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)


def middle(ordered: Tensor) -> Tensor:
    """Return the median (...) of values (..., n) that ascend along the last axis.

    >>> import torch
    >>> middle(torch.tensor([1.0, 2.0, 4.0, 9.0]))
    tensor(3.)
    """
    n = ordered.shape[-1]
    below, above = ordered[..., (n - 1) // 2], ordered[..., n // 2]
    return below + (above / 2 - below / 2)  # the difference itself could overflow


def median_of(values: Tensor) -> Tensor:
    """Return the median (...) of values (..., n) in any order."""
    return middle(values.sort(dim=-1).values)


def mean_within(ordered: Tensor) -> Tensor:
    """Return the mean (c,) of values (c, k) that ascend along each row. It is finite if the values are.

    >>> mean_within(torch.tensor([[1.0, 3.0], [3e38, 3e38]]))
    tensor([2.0000e+00, 3.0000e+38])
    """
    mean = ordered.mean(dim=1)
    if not bool(mean.isfinite().all()):  # the sum overflows
        parts = (ordered / ordered.shape[1]).sum(dim=1).clamp(ordered[:, 0], ordered[:, -1])
        mean = torch.where(mean.isfinite(), mean, parts)
    return mean


def mean_of_nearest(ordered: Tensor, values: Tensor, centre: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Return the mean (c,) of the values nearest to the centre, and the kept values per client (n,).

    Of two values at the same distance, the smaller one is kept.

    Args:
        ordered: (c, n), one row per coordinate, sorted.
        values: (c, n), in the order of the clients.
        centre: (c,)
        kept: number of values to average, 1 to n.

    >>> row = torch.tensor([[0.0, 2.0, 3.0, 9.0]])
    >>> mean_of_nearest(row, row, torch.tensor([2.5]), kept=3)
    (tensor([1.6667]), tensor([1., 1., 1., 0.], dtype=torch.float64))
    """
    first = _first_kept(ordered, centre[:, None], kept)[:, 0]
    c, n = ordered.shape
    # The kept values are neighbours in the sorted row. With a strided view of all windows of that length, one
    # gather copies them, without an index for every value.
    windows = ordered.contiguous().as_strided((c * n - kept + 1, kept), (1, 1))
    nearest = windows.index_select(0, first + n * torch.arange(c, device=first.device))
    return mean_within(nearest), shares_within(values, nearest[:, 0], nearest[:, -1])


def _first_kept(ordered: Tensor, centre: Tensor, kept: int) -> Tensor:
    """Return the start of the window of the `kept` values (c, n) nearest to `centre` (c, 1), (c, 1).

    The window starts at the left and moves on while the value that enters is nearer than the value that
    leaves. After its first stop the window never moves again, so bisection finds the distance.
    """
    dropped = ordered.shape[1] - kept
    first = torch.zeros(len(ordered), 1, dtype=torch.int64, device=ordered.device)
    step = 1 << dropped.bit_length() >> 1
    while step:
        tried = first + (step - 1)
        out = tried.clamp(max=dropped - 1)
        nearer = ordered.gather(1, out + kept) - centre < centre - ordered.gather(1, out)
        first += step * (nearer & (tried < dropped))
        step >>= 1
    return first


ROUNDING = 1e-12
"""A standard deviation below this share of the largest value is rounding: the values are equal."""


def z_scores(values: Tensor) -> Tensor:
    """Return the distance of each value (n,) from the median in standard deviations, 0 if all are equal.

    >>> z_scores(torch.tensor([1.0, 1.0, 1.0, 5.0]))
    tensor([0.0000, 0.0000, 0.0000, 2.3094])
    """
    spread = values.std(correction=0)
    differ = spread > ROUNDING * values.abs().max()
    return torch.where(differ, (values - median_of(values)).abs() / torch.where(differ, spread, 1), 0)

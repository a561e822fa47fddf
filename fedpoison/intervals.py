"""Means over seeds, with what the seeds leave uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 9999


@dataclass(frozen=True)
class Estimate:
    """The mean of a few values and its bootstrap interval."""

    mean: float
    low: float | None = None
    high: float | None = None
    """None where there is no interval: for a single value, and where there is no mean."""


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean with a 95 % bootstrap interval (BCa), the same for the same values.

    A few seeds say little: with three the interval is about their range, and misses the true mean more often
    than its name says.

    >>> estimate([0.75, 0.25]).mean, estimate([0.8])
    (0.5, Estimate(mean=0.8, low=None, high=None))

    Returns:
        Mean NaN and no interval if any value is NaN; both ends at the mean where all values are equal.
    """
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean())
    if len(sample) < 2 or np.isnan(mean):
        return Estimate(mean)
    if np.ptp(sample) == 0:
        return Estimate(mean, mean, mean)
    return Estimate(mean, *_bootstrap(sample))


def _bootstrap(sample: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    from scipy.stats import bootstrap  # noqa: PLC0415  # half a second to import

    found = bootstrap(
        (sample,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)

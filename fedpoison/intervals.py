"""Means over seeds, with what the seeds leave uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 9999
_HELD = {2: 0.50, 3: 0.72, 4: 0.79, 5: 0.84, 6: 0.86, 7: 0.87, 8: 0.88, 9: 0.89}
"""In which share of samples of so many normal values the interval holds the true mean."""


@dataclass(frozen=True)
class Estimate:
    """The mean of a few values and its bootstrap interval."""

    mean: float
    low: float | None = None
    high: float | None = None
    """None where there is no interval: for a single value, and where there is no mean."""


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean with a 95 % bootstrap interval (BCa), the same for the same values.

    A few seeds say little: see `shortfall`.

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


def shortfall(seeds: int) -> str:
    """Return in words how often the interval of so few seeds holds the true mean; empty for ten and more.

    >>> shortfall(3)
    'with 3 seeds they hold the true mean in some 72 % of cases'
    """
    if seeds not in _HELD:
        return ""
    return f"with {seeds} seeds they hold the true mean in some {100 * _HELD[seeds]:.0f} % of cases"


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

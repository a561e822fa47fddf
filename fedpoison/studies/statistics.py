"""Means over seeds with bootstrap intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedpoison.results.run_frame import MEASURES

CONFIDENCE = 0.95
RESAMPLES = 9999
_HELD = {2: 0.50, 3: 0.72, 4: 0.79, 5: 0.84, 6: 0.86, 7: 0.87, 8: 0.88, 9: 0.89}
"""Coverage of the interval by the number of normal values: how often it contains the true mean."""


@dataclass(frozen=True)
class Estimate:
    """The mean of a few values and its bootstrap interval."""

    mean: float
    low: float | None = None
    high: float | None = None
    """None without an interval: for a single value, and without a mean."""


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean with a 95 % bootstrap interval (BCa); equal values give equal results.

    With few seeds the interval is too narrow: see `coverage_note`.

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


def coverage_note(seeds: int) -> str:
    """Return how often the interval of so few seeds contains the true mean; empty for ten and more.

    >>> coverage_note(3)
    'with 3 seeds they contain the true mean in about 72 % of cases'
    """
    if seeds not in _HELD:
        return ""
    return f"with {seeds} seeds they contain the true mean in about {100 * _HELD[seeds]:.0f} % of cases"


def _bootstrap(sample: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    from scipy.stats import bootstrap  # noqa: PLC0415  # scipy takes half a second to import

    found = bootstrap(
        (sample,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def intervals(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return one row per group and measure: `mean`, and `low` and `high` of the 95 % bootstrap interval.

    A measure that a run of the group lacks is NaN.
    """
    rows = [
        (*labels, name, found.mean, found.low, found.high)
        for labels, group in frame.groupby(list(by), sort=False)
        for name, column in MEASURES.items()
        for found in [estimate(group[column].tolist())]
    ]
    ends = {"mean": np.float64, "low": np.float64, "high": np.float64}
    return pd.DataFrame(rows, columns=[*by, "measure", *ends]).astype(ends)


def paired_differences(
    frame: pd.DataFrame, axis: str, reference: object, pairs: Sequence[str]
) -> pd.DataFrame:
    """Return the rows of the other labels on an axis, with each measure minus that of the reference.

    Args:
        frame: Runs.
        axis: Axis of the reference.
        reference: Label to compare the others with.
        pairs: Axes on which a run and its reference agree. The same seed gives both the same weights, data
            and malicious clients, which cancel in the difference.
    """
    columns = list(MEASURES.values())
    chosen = frame[axis] == reference
    others, theirs = frame[~chosen], frame[chosen].set_index(list(pairs))[columns]
    paired = theirs.loc[pd.MultiIndex.from_frame(others[list(pairs)])].to_numpy()
    return others.assign(**dict(zip(columns, (others[columns] - paired).to_numpy().T, strict=True)))

"""One tidy frame of many runs, and its aggregations: tables, means with intervals, paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from fedpoison.results.defects import LOST, NO_RESULT
from fedpoison.results.round import Round

MEASURES = {
    "accuracy": "accuracy",
    "worst-class accuracy": "worst_class_accuracy",
    "attack success": "success",
}
"""Columns with the measures of a run, by the name in tables and figures."""
CONFIDENCE = 0.95
RESAMPLES = 9999
_HELD = {2: 0.50, 3: 0.72, 4: 0.79, 5: 0.84, 6: 0.86, 7: 0.87, 8: 0.88, 9: 0.89}
"""Coverage of the interval by the number of normal values: how often it contains the true mean."""
Reduce = Literal["mean", "std", "first"] | Callable[["pd.Series[float]"], float]


def run_frame(axes: Sequence[str], runs: Iterable[tuple[Sequence[object], Round | None]]) -> pd.DataFrame:
    """Return one row per run: its axes, `stopped`, its measures and the accuracy of each class.

    Args:
        axes: Names of the axes.
        runs: Labels of each run on the axes, and the round whose measures are shown. None: the run stopped.
    """
    rows = [
        {**dict(zip(axes, labels, strict=True)), "stopped": record is None, **measured(record)}
        for labels, record in runs
    ]
    frame = pd.DataFrame(rows)
    columns = dict.fromkeys([*axes, "stopped", *MEASURES.values(), *frame.columns])
    return frame.reindex(columns=list(columns)).astype(dict.fromkeys(MEASURES.values(), np.float64))


def measured(record: Round | None) -> dict[str, float]:
    """Return the measures of a round and the accuracy of class 3 as `class_3`. NaN: no such number."""
    if record is None:
        return dict.fromkeys(MEASURES.values(), math.nan)
    classes = {f"class_{label}": share for label, share in enumerate(record.per_class_accuracy)}
    values = {column: getattr(record, column) for column in MEASURES.values()}
    return {column: math.nan if value is None else value for column, value in values.items()} | classes


def run_marks(runs: pd.DataFrame) -> pd.Series[str]:
    """Return the mark of each run of a frame that has the columns of `Defects.columns`.

    >>> run_marks(pd.DataFrame({"no_result": ["", "", "why"], "notes": ["", "late", "why"]})).tolist()
    ['', '*', '\N{MULTIPLICATION SIGN}']
    """
    lost = runs["notes"].fillna("").map(lambda notes: LOST if notes else "")
    return lost.mask(runs["no_result"].fillna("") != "", NO_RESULT)


def class_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns with class accuracies."""
    return [str(name) for name in frame.columns if str(name).startswith("class_")]


def of_whole_groups(frame: pd.DataFrame, by: Sequence[str], columns: Iterable[str]) -> pd.DataFrame:
    """Return the frame with NaN in `columns` for each group in which a run stopped.

    A mean over the other seeds would hide the worst case.
    """
    partial = frame.groupby(list(by))["stopped"].transform("any").to_numpy(dtype=bool)
    return frame.assign(**{column: frame[column].mask(partial) for column in columns})


def cross_table(
    frame: pd.DataFrame, value: str, rows: str | list[str], columns: str, reduce: Reduce = "mean"
) -> pd.DataFrame:
    """Return a column of a frame as a table, with rows and columns in the order of their first labels.

    Args:
        frame: Runs, or means over them.
        value: Column to show.
        rows: Axes of the rows.
        columns: Axis of the columns.
        reduce: Statistic of several values in a cell: their mean, the standard deviation of a sample, or
            the first value.
    """
    return frame.pivot_table(
        index=rows, columns=columns, values=value, aggfunc=reduce, dropna=False, sort=False
    ).rename_axis(columns=None)


STOPPED = -1.0
"""Accuracy of a case in which a strategy stopped, lower than any real accuracy."""


def lowest_accuracy(accuracy: pd.DataFrame) -> pd.Series[float]:
    """Return the lowest accuracy of each strategy over the cases that all strategies ran.

    A case that stopped a strategy is its worst case, even if other strategies did not run that case.

    Args:
        accuracy: Cases (rows) by strategies (columns). NaN: not run. `STOPPED`: stopped.

    Returns:
        Accuracies by strategy. If the strategies share no case, the series is empty.
    """
    shared = accuracy.notna().all(axis=1)
    if not shared.any():
        return pd.Series(dtype=np.float64)
    return pd.concat([accuracy[shared], accuracy.where(accuracy < 0)]).min()


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share in per cent, or a dash if it is missing.

    >>> percent(0.975), percent(None)
    ('97.5', '-')
    """
    return "-" if share is None or pd.isna(share) else f"{100 * share:.{decimals}f}"


def format_spread(mean: float | None, deviation: float | None, decimals: int = 1) -> str:
    """Return a mean and its standard deviation in per cent. A missing deviation is left out.

    >>> format_spread(0.5, 0.25), format_spread(0.5, None), format_spread(None, None)
    ('50.0 ± 25.0', '50.0', '-')
    """
    text = percent(mean, decimals)
    return text if text == "-" or pd.isna(deviation) else f"{text} ± {percent(deviation, decimals)}"


def format_interval(mean: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return a mean and its interval in per cent. A missing interval is left out.

    >>> format_interval(0.5, 0.25, 0.75), format_interval(0.5, None, None)
    ('50.0 [25.0, 75.0]', '50.0')
    """
    sign = "+" if signed else ""
    if pd.isna(low) or pd.isna(high):
        return f"{100 * mean:{sign}.1f}"
    return f"{100 * mean:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def to_records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Return the rows of a frame as plain values, with None for missing numbers."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


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

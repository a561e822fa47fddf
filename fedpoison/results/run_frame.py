"""One tidy frame of many runs: a row per run with its axes, its measures and whether the run stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from fedpoison.results.round import Round

MEASURES = {
    "accuracy": "accuracy",
    "worst-class accuracy": "worst_class_accuracy",
    "attack success": "success",
}
"""Columns with the measures of a run, by the name in tables and figures."""
Reduce = Literal["mean", "std"] | Callable[["pd.Series[float]"], float]


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


def measured(record: Round | None) -> dict[str, float | None]:
    """Return the measures of a round and the accuracy of class 3 as `class_3`. No round: NaN."""
    if record is None:
        return dict.fromkeys(MEASURES.values(), math.nan)
    classes = {f"class_{label}": share for label, share in enumerate(record.per_class_accuracy)}
    return {column: getattr(record, column) for column in MEASURES.values()} | classes


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
        reduce: Statistic of several values in a cell: their mean, or the standard deviation of a sample.
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

"""A tidy frame of many runs, with one row per run: its axes, its measures, and whether it stopped."""

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
        axes: names of the axes.
        runs: labels of each run on the axes, and its record. None: the run stopped.
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

    A mean over the other seeds would hide the worst run.
    """
    partial = frame.groupby(list(by))["stopped"].transform("any").to_numpy(dtype=bool)
    return frame.assign(**{column: frame[column].mask(partial) for column in columns})


def cross_table(
    frame: pd.DataFrame, value: str, rows: str | list[str], columns: str, reduce: Reduce = "mean"
) -> pd.DataFrame:
    """Return a column of a frame as a table, with rows and columns in the order of their first labels.

    Args:
        frame: runs, or means over runs.
        value: column with the values.
        rows: axes of the rows.
        columns: axis of the columns.
        reduce: summary of several values in a cell: mean, or sample standard deviation. Default: mean.
    """
    return frame.pivot_table(
        index=rows, columns=columns, values=value, aggfunc=reduce, dropna=False, sort=False
    ).rename_axis(columns=None)


STOPPED = -1.0
"""Placeholder, lower than any accuracy, for a case in which a strategy stopped."""


def lowest_accuracy(accuracy: pd.DataFrame) -> pd.Series[float]:
    """Return the lowest accuracy of each strategy over the cases that all strategies met.

    A case that stopped a strategy is its worst, even if the others did not meet the case.

    Args:
        accuracy: accuracy by case (rows) and strategy (columns). NaN: not met. `STOPPED`: stopped.

    Returns:
        Accuracies by strategy. If the strategies share no case, the series is empty.
    """
    shared = accuracy.notna().all(axis=1)
    if not shared.any():
        return pd.Series(dtype=np.float64)
    return pd.concat([accuracy[shared], accuracy.where(accuracy < 0)]).min()

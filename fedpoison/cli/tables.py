"""Tables for the terminal."""

from __future__ import annotations

import pandas as pd
from rich.markup import escape
from rich.table import Table

from fedpoison.history import History


def matrix(
    title: str, means: pd.DataFrame, spreads: pd.DataFrame | None = None, *, decimals: int = 1
) -> Table:
    """Return shares as a table in per cent, with their deviations where there are any."""
    table = Table(title=escape(title), title_justify="left")
    for name in means.index.names:
        table.add_column(escape(str(name)), overflow="fold")
    for column in means.columns:
        table.add_column(escape(str(column)), justify="right", no_wrap=True)
    for position, (label, row) in enumerate(means.iterrows()):
        labels = [escape(str(part)) for part in (label if isinstance(label, tuple) else (label,))]
        cells = [percent(value, decimals) for value in row]
        if spreads is not None:
            cells = [
                cell if cell == "-" else f"{cell} ± {percent(deviation, decimals)}"
                for cell, deviation in zip(cells, spreads.iloc[position], strict=True)
            ]
        table.add_row(*labels, *cells)
    return table


def class_table(columns: dict[str, History]) -> Table:
    """Return the final accuracy of each class (rows) in each history (columns), in per cent.

    With two columns a third gives their difference in points.
    """
    finals = {name: history.last for name, history in columns.items()}
    table = Table(title="Accuracy by class, %", title_justify="left")
    table.add_column("class")
    for name in finals:
        table.add_column(escape(name), justify="right")
    pair = len(finals) == len(("before", "after"))
    if pair:
        table.add_column("difference", justify="right")
    rows = list(zip(*(record.per_class_accuracy for record in finals.values()), strict=True))
    rows.append(tuple(record.accuracy for record in finals.values()))
    for label, values in enumerate(rows):
        last = label == len(rows) - 1
        cells = [percent(value) for value in values]
        if pair:
            cells.append(f"{100 * (values[1] - values[0]):+.1f}")
        table.add_row("all" if last else str(label), *cells, style="bold" if last else None)
    return table


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share in per cent, or a dash for none.

    >>> percent(0.975), percent(None)
    ('97.5', '-')
    """
    return "-" if share is None or pd.isna(share) else f"{100 * share:.{decimals}f}"

"""Display of results in a terminal and in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape

import pandas as pd

ROWS, COLUMNS = 8, 8
"""Largest number of rows and columns of a table in a terminal."""


class Displayed(ABC):
    """Result that is shown as one line, a table and remarks."""

    @property
    @abstractmethod
    def headline(self) -> str:
        """One line: what the result is, and its most important numbers."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """Return the result as a table."""

    @property
    def remarks(self) -> Sequence[str]:
        """Facts without which the table misleads, one per line below it. Default: none."""
        return ()

    def shown_frame(self) -> pd.DataFrame:
        """Return the table that a terminal and a notebook show. Default: that of `to_frame`."""
        return self.to_frame()

    def __repr__(self) -> str:
        table = self.shown_frame().to_string(
            max_rows=ROWS, max_cols=COLUMNS, line_width=110, float_format="{:.3f}".format
        )
        return "\n".join([self.headline, table, *(f"* {remark}" for remark in self.remarks)])

    def _repr_html_(self) -> str:
        """Return the line and the table as HTML, which notebooks show."""
        table = self.shown_frame().to_html(max_rows=30, max_cols=20, float_format="{:.3f}".format, border=0)
        remarks = "".join(f"\n<p>* {escape(remark)}</p>" for remark in self.remarks)
        return f"<p>{escape(self.headline)}</p>\n{table}{remarks}"

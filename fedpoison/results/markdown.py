"""Text and tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import pandas as pd

Alignment = Literal["left", "right"]


def markdown_text(text: str) -> str:
    r"""Escape the markup characters of Markdown.

    >>> print(markdown_text("nnm | krum_2"))
    nnm \| krum\_2
    """
    return re.sub(r"([\\`*_|<])", r"\\\1", text)


def markdown_table(cells: pd.DataFrame, alignments: Sequence[Alignment]) -> str:
    r"""Return a table of texts in Markdown, without escaping them.

    >>> print(markdown_table(pd.DataFrame({"rule": ["krum"], "%": ["8.9"]}), ["left", "right"]))
    | rule   |   % |
    |:-------|----:|
    | krum   | 8.9 |

    Args:
        cells: Texts. A cell with `|` needs `markdown_text`.
        alignments: Alignment per column.
    """
    return str(cells.to_markdown(index=False, disable_numparse=True, colalign=list(alignments)))

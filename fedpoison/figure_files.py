"""Figures as files, whatever texts users have put into them."""

from __future__ import annotations

import logging
import re
import warnings
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

_LACKS = r"Glyph (\d+) .*missing from"
"""What matplotlib warns of, for each character each time that it is drawn."""

_log = logging.getLogger(__name__)


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the ending of `path` (png, svg, pdf) chooses the format.

    Texts stand there as they are: dollars begin no formula. Characters that the font lacks become boxes, and
    are told once.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with mpl.rc_context({"svg.hashsalt": "fedpoison"}), warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", _LACKS)
        figure.savefig(path, dpi=150)
    lacking = set()
    for warning in caught:
        found = re.match(_LACKS, str(warning.message))
        if found:
            lacking.add(chr(int(found[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if lacking:
        _tell("".join(sorted(lacking)))


@cache
def _tell(lacking: str) -> None:
    _log.warning("figures: their font lacks %r, and boxes stand there instead.", lacking)

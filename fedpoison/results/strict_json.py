"""Strict JSON: the one writer of every JSON object that fedpoison prints or saves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping


def to_json(content: object, *, indent: int | None = None, compact: bool = False) -> str:
    """Return plain values as strict JSON, which every reader accepts.

    A number that is not finite is a missing value, so it becomes null.

    >>> to_json({"loss": float("nan"), "rounds": (1, 2)})
    '{"loss": null, "rounds": [1, 2]}'

    Args:
        content: mappings, lists, tuples, texts, numbers, truth values and None.
        indent: number of spaces per level. Default: one line.
        compact: whether to leave out the spaces after commas and colons.
    """
    separators = (",", ":") if compact else None
    return json.dumps(_finite(content), indent=indent, separators=separators, allow_nan=False)


def _finite(content: object) -> object:
    """Return the content with None in place of each number that is not finite."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content

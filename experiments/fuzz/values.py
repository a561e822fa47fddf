"""Random values of parameters, drawn from their declared types, bounds and defaults."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Sequence
from random import Random
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from clients.bounds import Bounds

SET = 0.35
"""Chance that a parameter is set. Otherwise, it has its default."""
LARGE = 100
"""Defaults of whole numbers above this are counts that take time, so they are replaced by small ones."""
EXTREME_NUMBERS = (0.0, -1.0, 1e-300, 1e-45, 1e-8, 1e8, 1e30, 1e38, 1e300, -1e300)
EXTREME_COUNTS = (0, -1, 20)
HUGE_COUNTS = (10**6, 2**31, 2**63)
"""Counts that a parameter refuses, or whose run takes longer than a fuzzer can wait."""
INVALID_NUMBERS = (math.nan, math.inf, -math.inf, -0.5, 1.5)


def draw_parameters(kind: type, texts: Sequence[str], source: Random) -> dict[str, object]:
    """Return values of some fields of the dataclass `kind`.

    Args:
        kind: dataclass whose fields are the parameters.
        texts: candidates for parameters that are texts, such as names of rules.
        source: random generator.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    drawn: dict[str, object] = {}
    for described in dataclasses.fields(kind):
        default, hint = described.default, hints[described.name]
        if hint is int and isinstance(default, int) and default > LARGE:
            drawn[described.name] = source.randint(1, 8)
        elif source.random() < SET:
            drawn[described.name] = draw_value(hint, default, texts, source)
    return drawn


def draw_value(
    hint: Any, default: object, texts: Sequence[str], source: Random, bounds: Bounds | None = None
) -> object:
    """Return a value of the type `hint`: mostly a usual one, sometimes at a bound, extreme or invalid."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return draw_value(inner[0], default, texts, source, _declared(inner[1:]) or bounds)
    if origin in (typing.Union, types.UnionType):
        return draw_value(source.choice(inner), default, texts, source, bounds)
    if origin is Literal:
        return source.choice(inner)
    drawn: dict[object, Callable[[], object]] = {
        bool: lambda: source.random() < 0.5,
        int: lambda: _draw_count(default, bounds or Bounds(), source),
        float: lambda: _draw_number(default, bounds or Bounds(), source),
        str: lambda: source.choice(texts) if texts else default,
        types.NoneType: lambda: None,
    }
    return drawn[hint]() if hint in drawn else default


def _draw_number(default: object, bounds: Bounds, source: Random) -> float:
    center = default if isinstance(default, int | float) and default else 1.0
    usual = [center * factor for factor in (0.1, 0.5, 0.9, 1, 2, 10)]
    edges = [
        *(each for each in (bounds.at_least, bounds.at_most) if each is not None),
        *([math.nextafter(bounds.above, math.inf)] if bounds.above is not None else []),
        *([math.nextafter(bounds.below, -math.inf)] if bounds.below is not None else []),
    ]
    return float(_draw((usual, edges, EXTREME_NUMBERS, INVALID_NUMBERS), bounds, source))


def _draw_count(default: object, bounds: Bounds, source: Random) -> int:
    center = default if isinstance(default, int) and default <= LARGE else 2
    usual = [center - 1, center, center + 1, 0, 1, 2, 3, 5]
    edges = [int(each) for each in (bounds.at_least, bounds.at_most) if each is not None]
    if source.random() < 0.015:
        return source.choice(HUGE_COUNTS)
    return int(_draw((usual, edges, EXTREME_COUNTS, (-1, -(2**63))), bounds, source))


def _draw(candidates: Sequence[Sequence[float]], bounds: Bounds, source: Random) -> float:
    """Choose among candidates that are usual, at the bounds, extreme or invalid."""
    usual, edges, extreme, invalid = candidates
    kind = source.random()
    if kind < 0.03:
        return source.choice(invalid)
    group = extreme if kind < 0.15 else edges if kind < 0.35 else usual
    allowed = [each for each in group if each in bounds] or [each for each in usual if each in bounds]
    return source.choice(allowed or [*edges, *usual])


def _declared(marks: Sequence[object]) -> Bounds | None:
    """Return the bounds that the marks of an annotated type declare, as `Bounds` or as pydantic's."""
    names = {
        annotated_types.Ge: ("ge", "at_least"),
        annotated_types.Gt: ("gt", "above"),
        annotated_types.Le: ("le", "at_most"),
        annotated_types.Lt: ("lt", "below"),
    }
    found: dict[str, float] = {}
    for mark in marks:
        if isinstance(mark, Bounds):
            return mark
        for part in mark.metadata if isinstance(mark, FieldInfo) else [mark]:
            if type(part) in names:
                attribute, name = names[type(part)]
                found[name] = getattr(part, attribute)
    return Bounds(**found) if found else None

"""Bounds of numeric parameters, declared in the type of a field and checked at construction."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, TypeVar, cast, get_args, get_type_hints

Number = TypeVar("Number", int, float)
"""Type of a parameter."""

LARGEST_NUMBER = 3.4e38
"""Largest size of a parameter. The weights and updates that it multiplies are float32."""
LARGEST_INTEGER = 2**63 - 1
"""Largest size of an integer parameter. Positions, counts and seeds of tensors are int64."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Interval of numbers. None as a bound leaves that side open.

    >>> print(Bounds(at_least=0, below=1), Bounds(above=0), sep=" | ")
    0 or more and less than 1 | more than 0
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
            and not math.isnan(value)
        )

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least} to {self.at_most}"
        words = {
            "{} or more": self.at_least,
            "more than {}": self.above,
            "at most {}": self.at_most,
            "less than {}": self.below,
        }
        return " and ".join(word.format(value) for word, value in words.items() if value is not None)


Share = Annotated[float, Bounds(at_least=0, at_most=1)]
PositiveShare = Annotated[float, Bounds(above=0, at_most=1)]
ShareBelowOne = Annotated[float, Bounds(at_least=0, below=1)]
OpenShare = Annotated[float, Bounds(above=0, below=1)]
Positive = Annotated[float, Bounds(above=0)]
NonNegative = Annotated[float, Bounds(at_least=0)]
Multiple = Annotated[float, Bounds(above=0, at_most=1e9)]
Count = Annotated[int, Bounds(at_least=0)]
PositiveCount = Annotated[int, Bounds(at_least=1)]


def check_bounds(instance: object) -> None:
    """Check every field of the dataclass `instance` whose type declares `Bounds`. None is always allowed.

    No parameter may be NaN, infinite or too large: for the float32 of weights and updates, or for int64.

    Raises:
        ValueError: A value is outside its bounds, or not a number of float32 or int64. The message names the
            field and the value.
    """
    for name, bounds in _bounds_of(type(instance)).items():  # type: ignore[arg-type]  # classes do hash
        value = getattr(instance, name)
        if value is not None and value not in bounds:
            raise ValueError(f"{name}: got {value}, expected {bounds}.")
    for name, value in _values_of(instance, float).items():
        if not math.isfinite(value):
            raise ValueError(f"{name}: got {value}, expected a finite number.")
        if abs(value) > LARGEST_NUMBER:
            raise ValueError(f"{name}: got {value}, expected at most {LARGEST_NUMBER:.1e} in size (float32).")
    for name, value in _values_of(instance, int).items():
        if abs(value) > LARGEST_INTEGER:
            raise ValueError(f"{name}: got {value}, expected at most {LARGEST_INTEGER:.1e} in size (int64).")


def check_no_nan(instance: object) -> None:
    """Raise ValueError if a parameter of the dataclass `instance` is NaN."""
    for name, value in _values_of(instance, float).items():
        if math.isnan(value):
            raise ValueError(f"{name}: got nan, expected a number.")


def _values_of(instance: object, kind: type[Number]) -> dict[str, Number]:
    """Return the parameters of the dataclass `instance` that are of the type `kind`, by name."""
    values = {each.name: getattr(instance, each.name) for each in fields(cast("Any", instance))}
    return {name: value for name, value in values.items() if isinstance(value, kind)}


@cache  # resolving the type hints takes far longer than checking a dozen numbers
def _bounds_of(kind: type) -> Mapping[str, Bounds]:
    """Return the bounds of the fields of `kind`, by name."""
    declared = {name: _declared(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
    return {name: bounds for name, bounds in declared.items() if bounds is not None}


def _declared(hint: Any) -> Bounds | None:
    """Return the bounds in a type hint such as `Share` or `Share | None`."""
    marks = (*getattr(hint, "__metadata__", ()), *map(_declared, get_args(hint)))
    return next((mark for mark in marks if isinstance(mark, Bounds)), None)

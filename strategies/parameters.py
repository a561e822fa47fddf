"""Checks of the parameters of rules, which raise ValueError when a rule is built."""

from __future__ import annotations

import math

LARGEST_NUMBER = 3.4e38
"""Largest parameter. The updates that it multiplies are float32."""


def positive(**parameters: float) -> None:
    """Raise ValueError unless every parameter is a finite number above 0, within the range of float32."""
    for name, value in parameters.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: got {value}, expected a finite number above 0.")
        _check_range(name, value)


def limit(**parameters: float) -> None:
    """Raise ValueError unless every parameter is a number above 0. Infinity means: no limit."""
    for name, value in parameters.items():
        if not value > 0:
            raise ValueError(f"{name}: got {value}, expected a number above 0.")
        if value != math.inf:
            _check_range(name, value)


def require_non_negative(**parameters: float) -> None:
    """Raise ValueError unless every parameter is finite and 0 or more, within the range of float32."""
    for name, value in parameters.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: got {value}, expected a finite number, 0 or more.")
        _check_range(name, value)


def fraction(**parameters: float) -> None:
    """Raise ValueError unless every parameter is above 0 and at most 1."""
    for name, value in parameters.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name}: got {value}, expected more than 0 and at most 1.")


def below_one(**parameters: float) -> None:
    """Raise ValueError unless every parameter is 0 or more, and less than 1."""
    for name, value in parameters.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name}: got {value}, expected from 0 to less than 1.")


def one_of(*choices: str, **parameters: str) -> None:
    """Raise ValueError unless every parameter is one of the choices."""
    for name, value in parameters.items():
        if value not in choices:
            raise ValueError(f"{name}: got {value!r}, expected {' or '.join(map(repr, choices))}.")


def _check_range(name: str, value: float) -> None:
    if value > LARGEST_NUMBER:
        raise ValueError(f"{name}: got {value}, expected at most {LARGEST_NUMBER:.1e} (float32).")

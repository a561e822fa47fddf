"""Checks that several rules make of their knobs."""

from __future__ import annotations


def positive(**knobs: float) -> None:
    """Raise ValueError unless every knob is a number above 0."""
    for knob, value in knobs.items():
        if not value > 0:
            raise ValueError(f"{knob}: got {value}, wanted a number above 0.")


def not_negative(**knobs: float) -> None:
    """Raise ValueError unless every knob is 0 or more."""
    for knob, value in knobs.items():
        if not value >= 0:
            raise ValueError(f"{knob}: got {value}, wanted 0 or more.")

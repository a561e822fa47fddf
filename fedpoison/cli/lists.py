"""Options that hold several things, separated by commas."""

from __future__ import annotations

from fedpoison.errors import ScenarioError
from fedpoison.specs import split_outside


def names_in(option: str, text: str) -> list[str]:
    """Return the names that an option lists, each once; a comma within parentheses separates nothing.

    >>> names_in("attacks", "alie, label-flip(source=1, target=7)")
    ['alie', 'label-flip(source=1, target=7)']

    Raises:
        ScenarioError: there is none.
    """
    items = split_outside(text, ",")
    if not items:
        raise ScenarioError(f"--{option}: got nothing, wanted names separated by commas.")
    return list(dict.fromkeys(items))


def seeds_in(text: str) -> list[int]:
    """Return the seeds that an option lists, each once.

    Raises:
        ScenarioError: one is no whole number.
    """
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise ScenarioError(f"--seeds: got {text!r}, wanted whole numbers separated by commas.") from None

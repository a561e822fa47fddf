"""Options that hold several things, separated by commas."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from fedpoison.errors import ScenarioError
from fedpoison.pipelines import read_aggregation
from fedpoison.registries import read_attack
from fedpoison.specs import split_outside

_READERS: dict[str, Callable[[str], str]] = {"attacks": read_attack, "strategies": read_aggregation}


def names_in(option: Literal["attacks", "strategies"], text: str) -> list[str]:
    """Return the specs that an option lists; a comma within parentheses separates nothing.

    Of several that mean the same the first is kept, as it is spelt.

    >>> names_in("attacks", "alie, label-flip(source=1, target=7), alie()")
    ['alie', 'label-flip(source=1, target=7)']

    Raises:
        ScenarioError: there is none, or one is not known.
    """
    items = split_outside(text, ",")
    if not items:
        raise ScenarioError(f"--{option}: got nothing, wanted names separated by commas.")
    meant: dict[str, str] = {}
    for item in items:
        meant.setdefault(_READERS[option](item), item)
    return list(meant.values())


def seeds_in(text: str) -> list[int]:
    """Return the seeds that an option lists, each once.

    Raises:
        ScenarioError: one is no whole number.
    """
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise ScenarioError(f"--seeds: got {text!r}, wanted whole numbers separated by commas.") from None


def spell_seeds(seeds: Collection[int]) -> str:
    """Return seeds as a sentence names them.

    >>> spell_seeds([0, 1]), spell_seeds([7])
    ('seeds 0, 1', 'seed 7')
    """
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"

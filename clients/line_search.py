"""Searches for the factor of an attack that does the most damage, in a bounded number of evaluations."""

from __future__ import annotations

from collections.abc import Callable

Objective = Callable[[float], float]
"""`objective(factor)` is what is to be large; costly to evaluate."""


def expand_then_contract(
    objective: Objective, *, step: float, evaluations: int, start: float = 0.0, ratio: float = 0.8
) -> float:
    """Return the best factor found by doubling steps while they pay, and shrinking ones afterwards.

    The search of Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A Recipe for
    Optimal Byzantine ML under Heterogeneity", AISTATS 2023, as ByzFL publishes it.

    >>> round(expand_then_contract(lambda x: -(x - 3) ** 2, step=1, evaluations=20), 1)
    3.0
    """
    best, damage = start, objective(start)
    expanding = True
    for _ in range(evaluations - 1):
        value = objective(best + step)
        expanding = expanding and value > damage
        if value > damage:
            best, damage = best + step, value
        step *= 2 if expanding else ratio
    return best


def coarse_then_fine(objective: Objective, *, largest: float, evaluations: int) -> float:
    """Return the best factor between 0 and twice `largest`: halvings first, then bisection above the best.

    It finds the edge where a rule that selects stops accepting, wherever it lies, as well as the plateau
    of a rule that trims: neither is found by a bisection that starts beyond the edge.

    >>> edge = coarse_then_fine(lambda x: x if x < 0.3 else 0.0, largest=10.0, evaluations=20)
    >>> round(edge, 2)
    0.3
    """
    coarse = max(evaluations // 2, 1)
    factors = [largest * 0.5**k for k in reversed(range(coarse))]  # of equally good ones the smallest wins
    damages = [objective(factor) for factor in factors]
    damage = max(damages)
    best = step = factors[damages.index(damage)]
    for _ in range(evaluations - coarse):
        step /= 2
        value = objective(best + step)
        if value > damage:
            best, damage = best + step, value
    return best


def check_search(evaluations: int, coordinates: int) -> None:
    """Raise ValueError unless a search may evaluate at least twice, on at least one coordinate."""
    if evaluations <= 1:
        raise ValueError(f"evaluations: got {evaluations}, wanted at least 2 tries of the rule.")
    if coordinates < 1:
        raise ValueError(f"probe_coordinates: got {coordinates}, wanted at least 1.")

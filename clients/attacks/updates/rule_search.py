"""Search for the factor of an attack that does the most damage, by trying updates on the server's rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from clients.attacks.base import CraftContext
from clients.bounds import Bounds
from clients.kernels import column_mean, inner_products, products_with, squared_norms

Evaluations = Annotated[int, Bounds(at_least=2)]
"""How often a search evaluates its objective."""
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


class Probe:
    """Tries one update for all malicious clients on the rule that the attacker knows.

    An attacker who does not see the honest updates lets those of its own clients stand for them, repeated
    until there are as many as honest clients.

    Args:
        own: what the malicious clients would send, (m, d).
        seen: the honest updates, (h, d), or None.
        context: with the rule.

    Raises:
        ValueError: the context holds no rule.
    """

    def __init__(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> None:
        if context.rule is None:
            raise ValueError(
                "rule: got none, wanted the server's rule to try updates on. Use a strategy whose rule can "
                "be known, or an attack that does not know it."
            )
        self._context = context
        self._rule = context.rule
        self._craft_updates = max(len(own), context.malicious)
        others = max(context.clients - self._craft_updates, 0)
        self._others = own[torch.arange(others) % len(own)] if seen is None else seen
        self.honest = self._others if len(self._others) else own
        self.mean = column_mean(self.honest)

    def along(self, direction: Tensor, *, start: float = 1.0, coordinates: int) -> Callable[[float], float]:
        """Return what a search makes large: how far the aggregate lies from the honest mean, by factor.

        All malicious clients send start * mean + factor * direction. A rule that turns with its updates is
        tried in their span: the same to rounding. One that looks at each coordinate by itself is tried on
        those that change, or a random choice of them: what comes out is then about proportional, but for
        a constant part, and serves to compare factors.

        Args:
            direction: (d,).
            start: how much of the mean is sent in any case.
            coordinates: how many of them the random choice has.
        """
        rows, mean = self._others, self.mean
        if self._context.rule_kind == "turns" and len(direction) > len(rows) + 2:
            rows, mean, direction = _in_their_span(rows, mean, direction)
        elif self._context.rule_kind == "by coordinate":
            chosen = _some(direction.nonzero()[:, 0], coordinates, self._context.generator)
            if len(chosen) < len(direction):
                rows, mean, direction = rows[:, chosen], mean[chosen], direction[chosen]
        sent = torch.cat([mean.expand(self._craft_updates, -1), rows])

        def displacement(factor: float) -> float:
            sent[: self._craft_updates] = start * mean + factor * direction
            moved = self._rule(sent) - mean
            return float(squared_norms(moved[None]).sqrt())

        return displacement


def _some(positions: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return at most `count` of the positions, ascending, drawn at random; for none the first coordinate."""
    if not len(positions):
        return positions.new_zeros(1)
    if len(positions) <= count:
        return positions
    drawn = torch.randperm(len(positions), generator=generator)[:count].sort().values
    return positions[drawn.to(positions.device)]


def _in_their_span(rows: Tensor, mean: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows (h, d), mean (d,) and direction (d,) as coordinates in their span, h + 2 each, float64.

    Lengths and angles are those of before.
    """
    h = len(rows)
    products = torch.zeros(h + 2, h + 2, dtype=torch.float64)
    products[:h, :h] = inner_products(rows, origin=mean)
    for place, vector in ((h, mean), (h + 1, direction)):
        products[place, :h] = products[:h, place] = products_with(rows, vector, origin=mean)
        products[place, h:] = products[h:, place] = products_with(torch.stack([mean, direction]), vector)
    values, vectors = torch.linalg.eigh(products)
    found = vectors * values.clamp(min=0).sqrt()
    return found[:h] + found[h], found[h], found[h + 1]

"""Search for the most damaging factor of an attack, with trials of updates on the server's rule."""

import itertools
import math
from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from clients.attacks.base import CraftContext
from clients.bounds import Bounds
from clients.kernels import column_mean, inner_products, products_with, squared_norms

Evaluations = Annotated[int, Bounds(at_least=2)]
"""Number of evaluations of a search's objective."""
Objective = Callable[[float], float]
"""`objective(factor)` is the damage to maximise. Its evaluation is expensive."""


def expand_then_contract(
    objective: Objective, *, step: float, evaluations: int, start: float = 0.0, ratio: float = 0.8
) -> float:
    """Maximise the objective with steps that double while the damage increases, and then shrink.

    The search is from Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by Mixing: A Recipe for
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
    """Maximise the objective from 0 to twice `largest`, by halvings, then by bisection above the best.

    The search finds the edge up to which a selecting rule accepts updates, and the plateau of a trimming
    rule. A bisection that starts beyond the edge finds neither.

    >>> edge = coarse_then_fine(lambda x: x if x < 0.3 else 0.0, largest=10.0, evaluations=20)
    >>> round(edge, 2)
    0.3
    """
    coarse = max(evaluations // 2, 1)
    factors = [largest * 0.5**k for k in reversed(range(coarse))]  # ascending: the smallest of equals wins
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
    """Trials of one update for all malicious clients on the known rule.

    A trial has the rows that the server will have, in its order. If the attacker does not see the update of
    a client, a visible update replaces it: an honest one, or an own one without sight of the honest.

    Args:
        own: the malicious clients' updates after their training, (m, d).
        seen: the honest updates, (h, d), or None.
        context: context of the attack, with the rule.

    Raises:
        ValueError: The context contains no rule.
    """

    def __init__(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> None:
        if context.rule is None:
            raise ValueError(
                "rule: got None, expected the server's rule. Use a strategy with a rule that an attacker can "
                "know, or an attack that needs no rule."
            )
        self._context = context
        self._rule = context.rule
        self._crafted, self._others = split_rows(own, seen, context)
        self.honest = seen if seen is not None else self._others if len(self._others) else own
        self.mean = column_mean(self.honest)

    def along(self, direction: Tensor, *, start: float = 1.0, coordinates: int) -> Callable[[float], float]:
        """Return the objective: the distance from the aggregate to the honest mean, by factor.

        All malicious clients send start * mean + factor * direction. A rule that turns with its updates is
        evaluated in their span, with the same result up to rounding. A coordinate-wise rule is evaluated on
        the changed coordinates, or on a random subset. The distance on a subset is about proportional to
        that on all changed coordinates, up to a constant, so it ranks the factors.

        Args:
            direction: direction of the shift, (d,).
            start: multiple of the mean that is always sent.
            coordinates: largest size of the random subset.
        """
        rows, mean = self._others, self.mean
        if not bool(torch.stack([mean, direction]).isfinite().all()):
            return lambda _: -math.inf  # the honest updates are too large for their sum
        if self._context.rule_kind == "turns" and len(direction) > len(rows) + 2:
            rows, mean, direction = _in_their_span(rows, mean, direction)
        elif self._context.rule_kind == "by coordinate":
            chosen = _some(direction.nonzero()[:, 0], coordinates, self._context.generator)
            if len(chosen) < len(direction):
                rows, mean, direction = rows[:, chosen], mean[chosen], direction[chosen]
        sent = rows.new_empty(len(self._crafted), len(direction))
        sent[~self._crafted] = rows
        model = self._context.model if len(self._context.model) == len(direction) else None

        def displacement(factor: float) -> float:
            crafted = start * mean + factor * direction
            if not bool(crafted.isfinite().all()):
                return -math.inf  # the server drops such an update
            sent[self._crafted] = crafted if model is None else as_received(crafted, model)
            moved = self._rule(sent) - mean
            distance = float(squared_norms(moved[None]).sqrt())
            return distance if math.isfinite(distance) else -math.inf

        return displacement


def as_received(update: Tensor, model: Tensor) -> Tensor:
    """Return `update` as the server computes it: a reply carries the sum of model and update, which rounds.

    >>> as_received(torch.tensor([1e-9]), torch.tensor([1.0]))
    tensor([0.])
    """
    return (model + update) - model


def split_rows(own: Tensor, seen: Tensor | None, context: CraftContext) -> tuple[Tensor, Tensor]:
    """Return which rows of a trial are crafted, (n,) bool, and the other rows in the server's order.

    If the attacker does not see the update of a client, a visible one replaces it.
    """
    visible = own if seen is None else seen
    if not context.round_client_ids:  # a context without identities: the crafted updates come first
        count = max(len(own), context.malicious)
        others = max(context.clients - count, 0) if seen is None else len(seen)
        crafted = torch.arange(count + others) < count
        return crafted, visible[torch.arange(others) % len(visible)] if seen is None else visible
    group = set(context.group_client_ids)
    crafted = torch.tensor([client_id in group for client_id in context.round_client_ids])
    rows = {client_id: row for row, client_id in enumerate(context.seen_client_ids)}
    stand_ins = itertools.cycle(range(len(visible)))
    chosen = [
        rows[client_id] if client_id in rows else next(stand_ins)
        for client_id in context.round_client_ids
        if client_id not in group
    ]
    complete = chosen == list(range(len(visible)))
    return crafted, visible if complete else visible[torch.tensor(chosen, dtype=torch.long)]


def _some(positions: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Sample at most `count` of the positions, ascending. Without positions, return the first coordinate."""
    if not len(positions):
        return positions.new_zeros(1)
    if len(positions) <= count:
        return positions
    drawn = torch.randperm(len(positions), generator=generator)[:count].sort().values
    return positions[drawn.to(positions.device)]


def _in_their_span(rows: Tensor, mean: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows (h, d), mean (d,) and direction (d,) as h + 2 coordinates in their span, float64.

    Lengths and angles do not change.
    """
    h, scale = len(rows), 1.0
    products = _span_products(rows, mean, direction)
    if not bool(products.isfinite().all()):  # squares of huge updates exceed float32
        scale = max(float(part.abs().max()) for part in (rows, mean, direction) if len(part))
        products = _span_products(rows / scale, mean / scale, direction / scale)
    values, vectors = torch.linalg.eigh(products)
    found = vectors * values.clamp(min=0).sqrt() * scale
    return found[:h] + found[h], found[h], found[h + 1]


def _span_products(rows: Tensor, mean: Tensor, direction: Tensor) -> Tensor:
    """Return the inner products (h + 2, h + 2), of `rows` minus `mean`, of `mean` and `direction`."""
    h = len(rows)
    products = torch.zeros(h + 2, h + 2, dtype=torch.float64)
    products[:h, :h] = inner_products(rows, origin=mean)
    for place, vector in ((h, mean), (h + 1, direction)):
        products[place, :h] = products[:h, place] = products_with(rows, vector, origin=mean)
        products[place, h:] = products[h:, place] = products_with(torch.stack([mean, direction]), vector)
    return products

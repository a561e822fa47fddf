"""One rule from round to round: its state, its random stream, and the check of its results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from fedpoison.errors import AggregationError
from fedpoison.rng import generator_for
from strategies.base import (
    Aggregate,
    AggregationRule,
    Context,
    InputError,
    PreconditionError,
    checked_result,
)

TriedRule = Callable[[Tensor], Aggregate]
"""The server's rule of a round as attackers try it: `tried(updates (n, d))` returns the aggregate."""


class RuleRunner:
    """Calls a rule with its state and its random stream.

    Args:
        rule: The rule.
        seed: Seed of the rule's random draws. Each round has its own stream.
    """

    def __init__(self, rule: AggregationRule, seed: int) -> None:
        self.rule = rule
        self.state: dict[str, Tensor] = {}
        """State that the rule returned in the previous round."""
        self._seed = seed

    def prepared(self, context: Context, *, purpose: str = "rule") -> Context:
        """Return the context with the rule's state and its random stream. `purpose` names the stream."""
        return replace(context, state=self.state, generator=generator_for(self._seed, purpose, context.round))

    def apply(
        self, updates: Tensor, weights: Tensor, context: Context, *, purpose: str = "rule"
    ) -> Aggregate:
        """Return the rule's aggregate of updates (n, d) without a change of the rule's state.

        Args:
            updates: Updates of the round, (n, d).
            weights: Weight of each client, (n,).
            context: Other input of the rule. Its state and its generator are replaced.
            purpose: Name of the random stream.

        Raises:
            AggregationError: too few updates for the rule, or an input that the rule lacks.
            TypeError: the rule returns anything but an aggregate of the updates.
        """
        try:
            result = self.rule(updates, weights, self.prepared(context, purpose=purpose))
        except (PreconditionError, InputError) as error:
            raise AggregationError(f"round {context.round}: {error}") from None
        return checked_result(self.rule, result, updates)

    def step(
        self, model: Tensor, updates: Tensor, weights: Tensor, context: Context
    ) -> tuple[Tensor, Aggregate]:
        """Aggregate the updates (n, d) of a round and keep the rule's state for the next round.

        Returns:
            The new global weights (d,): `model` plus the aggregated update. And the aggregate.

        Raises:
            AggregationError: too few updates for the rule, or a non-finite result.
            TypeError: the rule returns anything but an aggregate of the updates.
        """
        aggregate = self.apply(updates, weights, context)
        self.state = dict(aggregate.state)
        stepped = model + aggregate.update
        if not bool(torch.isfinite(stepped).all()):
            raise AggregationError(
                f"round {context.round}: {self.rule!r} gave a non-finite model, expected finite weights; "
                "use a strategy that bounds updates, or a smaller learning rate."
            )
        return stepped, aggregate

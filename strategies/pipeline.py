"""A chain of pre-aggregators, a rule and a server optimizer, which is itself a rule."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from strategies.base import (
    Aggregate,
    AggregationRule,
    Anchored,
    Context,
    Limited,
    Rule,
    RuleCard,
    Stage,
    State,
    as_shares,
    checked_result,
    require,
)
from strategies.kernels.weighted_sums import mixed
from strategies.optimizers import ServerOptimizer
from strategies.preaggregators import PreAggregator
from strategies.tolerance import Relaxable

LARGEST = 2**63 - 1
"""End of the search for the smallest number of updates."""


def without_guarantee(rule: object, clients: int) -> list[str]:
    """Return a warning for each part of `rule` that gets fewer updates than its theorem needs."""
    parts = rule.inputs(clients) if isinstance(rule, Pipeline) else [(rule, clients)]
    return [
        f"{part!r} needs {part.card.precondition} for its guarantee: at least {part.guaranteed} updates, "
        f"got {rows}. With strict=false, it runs without the guarantee."
        for part, rows in parts
        if isinstance(part, Relaxable) and isinstance(part, Rule | PreAggregator) and rows < part.guaranteed
    ]


@dataclass(frozen=True, kw_only=True)
class Pipeline(AggregationRule):
    """Apply pre-aggregators to the updates, then a rule, then a server optimizer to the rule's result.

    The weight of a bucket is the mean weight of its clients, and the weight of a row that belongs to one
    client is the weight of that client. The rule's trust in rows is converted to trust in clients.

    >>> import torch
    >>> from strategies.rules.krum import Krum
    >>> from strategies.preaggregators import NNM
    >>> chain = Pipeline(pre=(NNM(byzantine=1),), rule=Krum(byzantine=1))
    >>> chain(torch.tensor([[1.0], [3.0], [4.0], [6.0], [50.0]])).trust
    tensor([0.2500, 0.2500, 0.2500, 0.2500, 0.0000], dtype=torch.float64)

    Raises:
        ValueError: the chain has neither a pre-aggregator nor an optimizer.
    """

    pre: tuple[PreAggregator, ...] = ()
    rule: AggregationRule
    optimizer: ServerOptimizer | None = None

    def __post_init__(self) -> None:
        if not self.pre and self.optimizer is None:
            raise ValueError(
                f"got {self.rule!r} alone, expected a pre-aggregator before it or an optimizer after it."
            )

    @property
    def card(self) -> RuleCard:  # type: ignore[override]  # depends on the parts, so it is no class variable
        stages: tuple[Stage, ...] = (*self.pre, self.rule)
        cards = [stage.card for stage in stages]
        preconditions = [f"{stage.card.precondition} ({type(stage).__name__})" for stage in stages]
        if self.optimizer is not None:
            cards.append(self.optimizer.card)
        return RuleCard(
            paper="; ".join(dict.fromkeys(card.paper for card in cards)),
            needs=tuple(dict.fromkeys(need for card in cards for need in card.needs)),
            precondition=", then ".join(preconditions),
            cost=" + ".join(dict.fromkeys(card.cost for card in cards)),
            deviations=" ".join(card.deviations for card in cards if card.deviations),
            permutation_equivariant=all(card.permutation_equivariant for card in cards),
            unanimous=all(card.unanimous for card in cards),
            translation_equivariant=all(card.translation_equivariant for card in cards),
            scale_equivariant=all(card.scale_equivariant for card in cards),
            rotation_equivariant=all(card.rotation_equivariant for card in cards),
            coordinate_wise=all(card.coordinate_wise for card in cards),
            uses_weights=self.rule.card.uses_weights,
            reports_trust=self.rule.card.reports_trust,
        )

    @property
    def minimum(self) -> int:
        return self._smallest(lambda stage: stage.minimum)

    @property
    def defined(self) -> int:
        """Smallest number of updates for which the chain can be computed with `strict` false in each part."""
        return self._smallest(lambda stage: getattr(stage, "defined", stage.minimum))

    def inputs(self, clients: int) -> Iterator[tuple[PreAggregator | AggregationRule, int]]:
        """Yield each pre-aggregator and the rule, with its number of rows for this number of updates."""
        for part in self.pre:
            yield part, clients
            clients = part.rows(clients)
        yield self.rule, clients

    def obstacle(self, clients: int, client_ids: Container[int] | None) -> str | None:
        """Return the error message of the first part that cannot aggregate this number of updates."""
        if not all(part.aligned for part in self.pre):
            client_ids = None
        found = (
            part.obstacle(rows, client_ids)
            for part, rows in self.inputs(clients)
            if isinstance(part, Limited)
        )
        return next((message for message in found if message is not None), None)

    def trusted_client(self, client_ids: Sequence[int]) -> int | None:
        """Return the client that the rule trusts, if its rows still belong to clients."""
        if isinstance(self.rule, Anchored) and all(part.aligned for part in self.pre):
            return self.rule.trusted_client(client_ids)
        return None

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        context = context or Context()
        state = context.state
        rows = updates = updates.detach()
        links: list[Tensor] = []
        for part in self.pre:
            link = part(rows, context)
            if not links:
                require(self, len(updates), context.client_ids)
                weights = as_shares(weights, updates)
            if not part.aligned:
                weights = (link / link.sum(dim=1, keepdim=True)) @ as_shares(weights, rows)
                context = replace(context, client_ids=None)
            rows = mixed(link, rows)
            links.append(link)
        result = self.rule(rows, weights, replace(context, state=_part(state, "rule")))
        aggregate = checked_result(self.rule, result, rows)
        step, trust = aggregate.update, aggregate.trust
        for link in reversed(links):
            trust = trust @ link
        memories = {"rule": aggregate.state}
        if self.optimizer is not None:
            step, memories["optimizer"] = self.optimizer(step, _part(state, "optimizer"))
        return Aggregate(update=step, trust=trust, state=_joined(memories))

    def _smallest(self, least: Callable[[Stage], int]) -> int:
        """Return the smallest number of updates that gives every part `least` rows."""
        # A stage that is defined for n updates is defined for more, so bisection finds the smallest n.
        return 1 + bisect_left(
            range(1, LARGEST), 1, key=lambda n: all(rows >= least(part) for part, rows in self.inputs(n))
        )


def _part(state: State, owner: str) -> State:
    prefix = f"{owner}: "
    return {name.removeprefix(prefix): kept for name, kept in state.items() if name.startswith(prefix)}


def _joined(memories: dict[str, State]) -> State:
    return {f"{owner}: {name}": kept for owner, state in memories.items() for name, kept in state.items()}

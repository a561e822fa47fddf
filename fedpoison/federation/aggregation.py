"""Aggregation in the server strategy: with one of our rules, or with a strategy of Flower."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from clients.training.parameters import Buffers
from clients.training.trainer import Trainer
from fedpoison.errors import AggregationError
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import (
    ARRAYS,
    CONFIG,
    EXAMPLES,
    METRICS,
    ROUND,
    PayloadError,
    Update,
    as_tensor,
    client_weights,
    from_record,
    named_record,
)
from fedpoison.federation.rule_runner import RuleRunner
from fedpoison.federation.workers import Workers
from fedpoison.results.checkpoint import Key, RunState
from fedpoison.rng import generator_for
from fedpoison.scenario.aggregation import FlowerStrategy
from strategies.base import Aggregate, AggregationRule, Context

BATCH = 128
"""Number of images per forward pass of `predict`. Their activations fit in the cache."""


@dataclass(frozen=True, eq=False)
class AggregationResult:
    """Result of one round of aggregation."""

    weights: Tensor
    """New global weights, (d,)."""
    trust: Tensor | None
    """Weight of each update, (n,). None if the strategy does not report weights."""
    aggregated: bool = True
    """Whether the strategy aggregated the updates. False: it returned no weights, so the model stays."""


class Aggregator(Protocol):
    """Creates the train messages of a round and aggregates the replies."""

    buffers: Buffers
    """Global buffers before the round, with which a rule trains or probes models."""

    def messages(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Return a train message for each client of `grid`."""

    def aggregate(
        self,
        server_round: int,
        model: Tensor,
        updates: Sequence[Update],
        matrix: Tensor,
        replies: Sequence[Message],
    ) -> AggregationResult:
        """Return the new global weights.

        Args:
            server_round: Round, counted from 1.
            model: Global weights before the round, (d,).
            updates: Content of the usable replies, ordered by client. At least one.
            matrix: Updates (n, d): the clients' weights minus `model`. Do not write to it.
            replies: The usable replies, in the same order.

        Raises:
            RunError: too few usable replies for the rule, or a non-finite result.
        """

    def state(self) -> dict[Key, Tensor]:
        """Return what the aggregator remembers after a round, for a checkpoint."""

    def restore(self, state: RunState) -> None:
        """Set the state that `state` returned."""


class RuleAggregator:
    """Aggregates with one of our rules, alone or in a pipeline."""

    def __init__(self, rule: AggregationRule, federation: Federation, workers: Workers) -> None:
        self.rule = rule
        self._runner = RuleRunner(rule, federation.scenario.seed)
        self._federation = federation
        self._workers = workers
        self._root: tuple[int, Tensor] | None = None
        self.buffers: Buffers = federation.initial_buffers

    def messages(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        content = RecordDict({ARRAYS: arrays, CONFIG: ConfigRecord({**config, ROUND: server_round})})
        return [
            Message(content=content, message_type=MessageType.TRAIN, dst_node_id=node_id)
            for node_id in grid.get_node_ids()
        ]

    def aggregate(
        self,
        server_round: int,
        model: Tensor,
        updates: Sequence[Update],
        matrix: Tensor,
        replies: Sequence[Message],
    ) -> AggregationResult:
        weights, aggregate = self._runner.step(
            model, matrix, self._weights(updates, model), self._context(server_round, model, updates)
        )
        trust = aggregate.trust if self.rule.card.reports_trust else None
        return AggregationResult(weights=weights, trust=trust)

    def apply_rule(
        self,
        server_round: int,
        model: Tensor,
        updates: Sequence[Update],
        matrix: Tensor,
        *,
        purpose: str = "rule",
    ) -> Aggregate:
        """Return the rule's aggregate of a round without a change of the rule's state.

        Args:
            server_round: Round, counted from 1.
            model: Global weights before the round, (d,).
            updates: Content of the usable replies, ordered by client. Their weights are not read.
            matrix: Updates (n, d), in the same order.
            purpose: Name of the rule's random stream.

        Raises:
            AggregationError: too few updates for the rule.
            TypeError: the rule returns anything but an aggregate of the updates.
        """
        context = self._context(server_round, model, updates)
        return self._runner.apply(matrix, self._weights(updates, model), context, purpose=purpose)

    def _weights(self, updates: Sequence[Update], model: Tensor) -> Tensor:
        return client_weights(updates, self._federation.scenario).to(model.device)

    def state(self) -> dict[Key, Tensor]:
        return {(name,): kept for name, kept in self._runner.state.items()}

    def restore(self, state: RunState) -> None:
        self._runner.state = {str(name): kept for (name,), kept in state.items()}

    def context(self, server_round: int, model: Tensor, client_ids: tuple[int, ...] | None) -> Context:
        """Return the context of the rule in this round, with its state and its random stream."""
        return self._runner.prepared(self._input(server_round, model, client_ids))

    def _input(self, server_round: int, model: Tensor, client_ids: tuple[int, ...] | None) -> Context:
        """Return the context without the rule's state and random stream, which its runner adds."""
        federation = self._federation
        return Context(
            round=server_round,
            client_ids=client_ids,
            model=model,
            layout=federation.layout,
            root_update=lambda: self._root_update(server_round, model),
            root_images=lambda: federation.root.images,
            root_labels=lambda: federation.root.labels,
            predict=self._predict,
            gradient=self._gradient,
            image_shape=tuple(federation.train.images.shape[1:]),
        )

    def _context(self, server_round: int, model: Tensor, updates: Sequence[Update]) -> Context:
        return self._input(server_round, model, tuple(update.client_id for update in updates))

    def _root_update(self, server_round: int, model: Tensor) -> Tensor:
        """Return the update of the root data. Trials of attackers share one training per round."""
        if self._root is None or self._root[0] != server_round:
            self._root = (server_round, self._train_on_root(server_round, model))
        return self._root[1].clone()

    def _train_on_root(self, server_round: int, model: Tensor) -> Tensor:
        generator = generator_for(self._federation.scenario.seed, "root training", server_round)

        def train(trainer: Trainer) -> Tensor:
            trainer.load(model, self.buffers)
            trainer.fit(self._federation.root, generator)
            return trainer.weights().to(model.device) - model

        return self._workers.run(train)

    def _predict(self, weights: Tensor, images: Tensor) -> Tensor:
        def predict(trainer: Trainer, parts: Sequence[Tensor]) -> list[Tensor]:
            trainer.load(weights, self.buffers)
            return [trainer.predict(part) for part in parts]

        parts = images.split(BATCH)
        size = -(-len(parts) // self._workers.count)
        groups = [parts[first : first + size] for first in range(0, len(parts), size)]
        return torch.cat(list(itertools.chain.from_iterable(self._workers.map(predict, groups))))

    def _gradient(self, weights: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        def differentiate(trainer: Trainer) -> tuple[Tensor, Tensor]:
            trainer.load(weights, self.buffers)
            return trainer.gradient(images, labels)

        loss, gradient = self._workers.run(differentiate)
        return loss.to(weights.device), gradient.to(weights.device)


class FlowerAggregator:
    """Aggregates with an unchanged strategy of Flower."""

    def __init__(self, strategy: FlowerStrategy, federation: Federation) -> None:
        self._strategy = strategy.create(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
        self._federation = federation
        self.buffers: Buffers = federation.initial_buffers

    def messages(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        before = random.getstate()  # Flower shuffles the clients with Python's global generator
        try:
            messages = self._strategy.configure_train(server_round, arrays, config, grid)
        finally:
            random.setstate(before)
        return sorted(messages, key=lambda message: message.metadata.dst_node_id)

    def aggregate(
        self,
        server_round: int,
        model: Tensor,
        updates: Sequence[Update],
        matrix: Tensor,
        replies: Sequence[Message],
    ) -> AggregationResult:
        if self._federation.scenario.weights == "uniform":
            for reply in replies:
                reply.content.metric_records[METRICS][EXAMPLES] = 1
        with np.errstate(all="ignore"):  # the result is checked
            arrays, _ = self._strategy.aggregate_train(server_round, replies)
        if arrays is None:
            return AggregationResult(weights=model, trust=None, aggregated=False)
        try:
            weights = from_record(arrays, self._federation.layout).to(model.device)
        except PayloadError as error:
            strategy = self._federation.scenario.strategy
            raise AggregationError(
                f"round {server_round}: {strategy} gave a model that {error}, expected finite weights; use a "
                "strategy that bounds updates, or a smaller learning rate."
            ) from None
        return AggregationResult(weights=weights, trust=None)

    def state(self) -> dict[Key, Tensor]:
        """Return the arrays in the attributes of Flower's strategy, which has no interface for its state.

        The second part of each name is the type of the attribute.
        """
        state: dict[Key, Tensor] = {}
        for attribute, value in vars(self._strategy).items():
            if isinstance(value, ArrayRecord):
                state |= {(attribute, "record", name): as_tensor(kept) for name, kept in value.items()}
            elif isinstance(value, dict):
                arrays = {name: kept for name, kept in value.items() if isinstance(kept, np.ndarray)}
                state |= {(attribute, "dict", name): torch.tensor(kept) for name, kept in arrays.items()}
            elif isinstance(value, list):
                state |= {(attribute, "list", i): torch.tensor(kept) for i, kept in enumerate(value)}
        return state

    def restore(self, state: RunState) -> None:
        for attribute, kind in dict.fromkeys(key[:2] for key in state):
            kept = {key[2]: value for key, value in state.items() if key[:2] == (attribute, kind)}
            arrays = {name: value.cpu().numpy() for name, value in kept.items()}
            value: object = arrays
            if kind == "record":
                value = named_record({str(name): tensor for name, tensor in kept.items()})
            elif kind == "list":
                value = [arrays[i] for i in range(len(arrays))]
            setattr(self._strategy, str(attribute), value)

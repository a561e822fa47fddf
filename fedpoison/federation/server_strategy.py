"""The server strategy: one Flower strategy for all rules, and for Flower's own strategies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from clients.training.parameters import Buffers, ModelState
from fedpoison.devices import aggregation_device
from fedpoison.errors import code_errors
from fedpoison.federation.aggregation import (
    AggregationResult,
    Aggregator,
    FlowerAggregator,
    RuleAggregator,
)
from fedpoison.federation.buffers import average_buffers, estimate_buffers
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import NodeSubsetGrid
from fedpoison.federation.messages import (
    BUFFERS,
    PREVIOUS,
    PayloadError,
    Update,
    client_weights,
    named_record,
    read_reply,
    to_record,
)
from fedpoison.federation.rule_runner import TriedRule
from fedpoison.federation.update_statistics import update_statistics
from fedpoison.federation.workers import Workers
from fedpoison.results.checkpoint import Key, RunState, owned_by, owner_state
from fedpoison.results.effects import Effects
from fedpoison.results.round import GroupRecord, Training
from fedpoison.scenario.aggregation import FlowerStrategy
from strategies.base import Aggregate

NO_USABLE_REPLY = "no reply was usable"
NOT_AGGREGATED = "the strategy did not aggregate"
OnUpdates = Callable[[int, ModelState, Sequence[Update], Tensor], None]
"""Callback(round, global_model, replies, updates), with the global model before the round.

Copy `updates` (n, d) to keep them: the next round overwrites the buffer."""


class SimulationStrategy(Strategy):
    """Samples clients, checks their replies, aggregates in the order of clients, and records each round.

    Args:
        federation: Federation of the scenario.
        client_ids: Client of each node id of the grid.
        workers: Trainers, for rules that train on root data or probe models.
        on_updates: Called with the updates of each round that has any, before the aggregation.
    """

    def __init__(
        self,
        federation: Federation,
        client_ids: Mapping[int, int],
        workers: Workers,
        on_updates: OnUpdates | None = None,
    ) -> None:
        self._federation = federation
        self._on_updates = on_updates
        self._client_ids = client_ids
        self._node_ids = {client_id: node_id for node_id, client_id in client_ids.items()}
        self.aggregator: Aggregator = (
            FlowerAggregator(federation.scenario.aggregation, federation)
            if isinstance(federation.scenario.aggregation, FlowerStrategy)
            else RuleAggregator(federation.scenario.aggregation, federation, workers)
        )
        self.model: Tensor = federation.initial.to(aggregation_device(workers.device))
        """Global weights before the next round, (d,)."""
        self.buffers = federation.initial_buffers
        """Global buffers before the next round, by name."""
        self._workers = workers
        self.previous_model: Tensor | None = None
        self.rounds_done = 0
        """Rounds before a checkpoint from which the run continues. Flower counts the rounds after it."""
        self.report = Training()
        """Record of the last aggregated round."""
        self._matrix = self.model.new_empty(0, len(self.model))
        self._sampled: list[int] = []
        self._sent_at = 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample the clients of the round and return their train messages."""
        server_round += self.rounds_done
        self._sampled = self._federation.selection.sample(server_round)
        chosen = NodeSubsetGrid(grid, [self._node_ids[client_id] for client_id in self._sampled])
        messages = self.aggregator.messages(server_round, arrays, config, chosen)
        if self._federation.shared_buffers:
            buffers = named_record(self.buffers)
            for message in messages:
                message.content = RecordDict({**message.content, BUFFERS: buffers})
        if self.previous_model is not None:
            previous = to_record(self.previous_model, self._federation.layout)
            self._attach_previous_model(
                messages, previous, self._federation.selection.attacking(server_round)
            )
        self._sent_at = time.perf_counter()
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the usable replies, in the order of clients, and return the new global weights."""
        server_round += self.rounds_done
        received = {self._client_ids[reply.metadata.src_node_id]: reply for reply in replies}
        trained_at = time.perf_counter()
        updates, dropped = self._read_replies(received)
        trust = None
        weights, unchanged = self.model, NO_USABLE_REPLY
        if updates:
            usable = [received[update.client_id] for update in updates]
            matrix = self._update_matrix(updates)
            if self._on_updates is not None:
                self._on_updates(server_round, ModelState(self.model, self.buffers), updates, matrix)
            self.aggregator.buffers = self.buffers
            with code_errors(f"round {server_round}, strategy {self._federation.scenario.strategy}"):
                result = self.aggregator.aggregate(server_round, self.model, updates, matrix, usable)
            weights = result.weights
            unchanged = "" if result.aggregated else NOT_AGGREGATED
            if result.aggregated:
                self.buffers = self.next_buffers(updates, result)
            if result.trust is not None:
                shares = result.trust.tolist()
                trust = {update.client_id: share for update, share in zip(updates, shares, strict=True)}
        self.report = self._training(server_round, updates, dropped, trust)
        self.report.drop_counts.update(Counter(dropped.values()))
        self.report.unchanged.update({unchanged: 1} if unchanged else {})
        self.report.seconds.update(
            train=trained_at - self._sent_at, aggregate=time.perf_counter() - trained_at
        )
        self.previous_model, self.model = self.model, weights
        return to_record(weights, self._federation.layout), None

    def next_buffers(self, updates: Sequence[Update], result: AggregationResult) -> Buffers:
        """Return the global buffers after a round."""
        federation = self._federation
        if not self.buffers:
            return {}
        if not federation.shared_buffers:
            return estimate_buffers(
                result.weights, federation.initial_buffers, federation.root, self._workers
            )
        trust = client_weights(updates, federation.scenario) if result.trust is None else result.trust
        return average_buffers(updates, trust, self.buffers)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return no messages: the server evaluates the global model."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return None: clients do not evaluate."""
        return None

    def summary(self) -> None:
        """Log nothing: the scenario contains all settings."""

    def state(self) -> dict[Key, Tensor]:
        """Return the models and the state of the rule after a round, for a checkpoint."""
        models = {"global": self.model}
        if self.previous_model is not None:
            models["previous"] = self.previous_model
        states = owned_by("model", models) | owned_by("rule", self.aggregator.state())
        return states | owned_by("buffer", self.buffers)

    def restore(self, server_round: int, state: RunState) -> None:
        """Set the state that `state` returned after a round."""
        here = {key: kept.to(self.model.device) for key, kept in state.items()}
        self.rounds_done = server_round
        self.model = here["model", "global"]
        self.previous_model = here.get(("model", "previous"))
        kept = owner_state("buffer", state)
        self.buffers = {name: kept[name,] for name in self.buffers}
        self.aggregator.restore(owner_state("rule", here))

    def known_rule(self, server_round: int, updates: Sequence[Update]) -> TriedRule | None:
        """Return the server's aggregation of this round as a function that an attacker can try.

        The function aggregates a matrix with one row per usable reply exactly as the server does, with
        pre-aggregators, optimizer, state, root data, identities and example counts. It does not change the
        state. Its random draws come from the attacker's own stream, the same on each call, since an attacker
        cannot predict the server's draws. The update of the result is on the device of the matrix.

        Args:
            server_round: Round, counted from 1.
            updates: Content of the usable replies, ordered by client. Their weights are not read.
        """
        aggregator = self.aggregator
        if not isinstance(aggregator, RuleAggregator):
            return None

        def try_rule(matrix: Tensor) -> Aggregate:
            tried = aggregator.apply_rule(
                server_round,
                self.model,
                updates,
                matrix.to(self.model.device),
                purpose="attackers' trials",
            )
            return replace(tried, update=tried.update.to(matrix.device), trust=tried.trust.cpu())

        return try_rule

    def _attach_previous_model(
        self, messages: Iterable[Message], previous: ArrayRecord, attacking: Collection[int]
    ) -> None:
        """Add the previous global weights to the messages for clients that attack in this round.

        A real attacker would have saved them. Simulated clients remember only what their attack stores.
        """
        for message in messages:
            if self._client_ids[message.metadata.dst_node_id] in attacking:
                message.content = RecordDict({**message.content, PREVIOUS: previous})

    def _read_replies(self, received: Mapping[int, Message]) -> tuple[list[Update], dict[int, str]]:
        updates, dropped = [], {}
        for client_id in self._sampled:
            if client_id not in received:
                dropped[client_id] = "did not reply"
                continue
            try:
                reply, buffers = received[client_id], self._federation.shared_buffers
                updates.append(read_reply(reply, client_id, self._federation.layout, buffers))
            except PayloadError as error:
                dropped[client_id] = str(error)
                continue
            if buffers:
                del reply.content[BUFFERS]  # strategies of Flower expect one record of arrays
        return updates, dropped

    def _update_matrix(self, updates: Sequence[Update]) -> Tensor:
        """Return the updates (n, d): the clients' weights minus the global weights before the round.

        All rounds share one buffer, since allocating a large matrix can take as long as a rule.
        """
        if len(self._matrix) < len(updates):
            self._matrix = self.model.new_empty(len(updates), len(self.model))
        matrix = self._matrix[: len(updates)]
        for row, update in zip(matrix, updates, strict=True):
            torch.sub(update.weights, self.model, out=row)
        return matrix

    def _training(
        self,
        server_round: int,
        updates: list[Update],
        dropped: dict[int, str],
        trust: dict[int, float] | None,
    ) -> Training:
        selection, sampled = self._federation.selection, set(self._sampled)
        size = self.model.numel() * self.model.element_size()
        losses = torch.tensor([update.loss for update in updates], dtype=torch.float64)
        known = losses[torch.isfinite(losses)]
        client_ids = [update.client_id for update in updates]
        statistics = update_statistics(
            self._matrix[: len(client_ids)], client_ids, set(client_ids) - selection.attacking(server_round)
        )
        return Training(
            sampled=self._sampled,
            malicious=sorted(selection.malicious(server_round) & sampled),
            groups=[
                GroupRecord(
                    attack=group.attack,
                    nodes=sorted(members & sampled),
                    acted=group.is_active(server_round),
                    effects=Effects(),
                )
                for group, members in selection.groups_with_members(server_round)
            ],
            dropped=dropped,
            trust=trust,
            update_norms=statistics.norms,
            distances=statistics.distances,
            cosines=statistics.cosines,
            train_loss=float(known.mean()) if len(known) else None,
            bytes_down=size * len(self._sampled),
            bytes_up=size * len(updates),
        )

"""The attacker on the wire: rewrites what malicious nodes send, seeing only what its knowledge allows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import torch
from flwr.app import Message, MessageType
from flwr.serverapp import Grid
from torch import Tensor

from clients.attack import TRIGGER, Attack, CraftContext, crafts
from clients.knowledge import crafted
from fedpoison.fleet import Fleet
from fedpoison.grids import WrappedGrid
from fedpoison.streams import stream
from fedpoison.wire import (
    ARRAYS,
    CONFIG,
    ROUND,
    PayloadError,
    Update,
    as_tensor,
    from_record,
    read_reply,
    to_record,
)

KnownRule = Callable[[int], Callable[[Tensor], Tensor] | None]
"""`known_rule(round)` is the server's rule of that round, for attacks that know it."""


class AdversaryGrid(WrappedGrid):
    """Rewrites the malicious nodes' replies to train messages, once all replies of the round are there.

    Args:
        grid: the engine's grid.
        fleet: the scenario's nodes.
        nodes: the scenario's node behind each node id of the grid.
        known_rule: the server's rule, for attacks that know it.
    """

    def __init__(self, grid: Grid, fleet: Fleet, nodes: Mapping[int, int], known_rule: KnownRule) -> None:
        super().__init__(grid)
        self._fleet = fleet
        self._nodes = nodes
        self._known_rule = known_rule
        self._memories: dict[tuple[Attack, int | None], dict[str, Tensor]] = defaultdict(dict)
        self._previous_model: Tensor | None = None
        self._triggers: dict[int, Tensor] = {}
        self.seconds: dict[str, float] = {}
        """How long the attacker took in the last round."""

    @property
    def triggers(self) -> list[Tensor]:
        """The latest trigger of each malicious node that has learned one, in the order of the nodes."""
        return [self._triggers[node] for node in sorted(self._triggers)]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the replies, those of malicious nodes rewritten."""
        asked = list(messages)
        replies = list(self.inner.send_and_receive(asked, timeout=timeout))
        trains = asked and asked[0].metadata.message_type == MessageType.TRAIN
        self._keep_triggers(replies)
        if trains and crafts(self._fleet.attack):
            began = time.perf_counter()
            self._rewrite(asked[0], replies)
            self.seconds = {"attack": time.perf_counter() - began}
        return replies

    def _keep_triggers(self, replies: Iterable[Message]) -> None:
        for reply in replies:
            if reply.has_content() and TRIGGER in reply.content:
                trigger = reply.content.array_records[TRIGGER][TRIGGER]
                self._triggers[self._nodes[reply.metadata.src_node_id]] = as_tensor(trigger)
                del reply.content[TRIGGER]

    def _rewrite(self, message: Message, replies: Iterable[Message]) -> None:
        fleet = self._fleet
        model = from_record(message.content.array_records[ARRAYS], fleet.layout)
        server_round = int(str(message.content.config_records[CONFIG][ROUND]))
        updates = {update.node: (update, reply) for update, reply in self._readable(replies)}
        own = {node: pair for node, pair in sorted(updates.items()) if node in fleet.malicious}
        honest = [
            pair[0].weights - model for node, pair in sorted(updates.items()) if node not in fleet.malicious
        ]
        if own:
            context_of = self._contexts(server_round, model, tuple(own), len(updates))
            sent = crafted(
                fleet.attack,
                torch.stack([update.weights for update, _ in own.values()]) - model,
                torch.stack(honest) if honest else model.new_zeros(0, len(model)),
                context_of,
                nodes=tuple(own),
            )
            for row, (_, reply) in zip(sent, own.values(), strict=True):
                reply.content[ARRAYS] = to_record(model + row, fleet.layout)
        self._previous_model = model

    def _readable(self, replies: Iterable[Message]) -> Iterable[tuple[Update, Message]]:
        for reply in replies:
            try:
                yield read_reply(reply, self._nodes[reply.metadata.src_node_id], self._fleet.layout), reply
            except PayloadError:
                continue  # the host drops it and says why

    def _contexts(
        self, server_round: int, model: Tensor, group: tuple[int, ...], clients: int
    ) -> Callable[[Attack, int | None], CraftContext]:
        fleet = self._fleet
        rule = self._known_rule(server_round)

        def context_of(attack: Attack, node: int | None) -> CraftContext:
            return CraftContext(
                generator=stream(fleet.scenario.seed, "craft", repr(attack), str(node), server_round),
                round=server_round,
                nodes=group if node is None else (node,),
                clients=clients,
                malicious=len(group),
                model=model,
                previous_model=self._previous_model,
                initial_model=fleet.initial,
                layout=fleet.layout,
                rule=rule,
                memory=self._memories[attack, node],
            )

        return context_of

"""The attacker on the wire: rewrites what malicious nodes send, seeing only what its knowledge allows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import torch
from flwr.app import Message, MessageType
from flwr.serverapp import Grid
from torch import Tensor

from clients.attacks.base import TRIGGER, Attack, CraftContext, Knowledge, RuleKind, crafts
from clients.attacks.composite import ContextOf, crafted
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import WrappedGrid
from fedpoison.federation.messages import (
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
from fedpoison.rng import stream
from fedpoison.scenario.aggregation import FlowerClass
from strategies.base import Card

KnownRule = Callable[[int], Callable[[Tensor], Tensor] | None]
"""`known_rule(round)` is the server's rule of that round, for attacks that know it."""


class AdversaryGrid(WrappedGrid):
    """Rewrites the malicious nodes' replies to train messages, once all replies of the round are there.

    Each group of attackers acts on its own: its nodes share what they know, and an omniscient group sees what
    the nodes send that are honest in this round, those of a dormant group among them, but not what another
    group sends. A group outside its schedule is left alone. Whatever the device, attacks compute on the
    processors, where their random numbers come from.

    Args:
        grid: the engine's grid.
        federation: the scenario's nodes.
        nodes: the scenario's node behind each node id of the grid.
        known_rule: the server's rule, for attacks that know it.
    """

    def __init__(
        self, grid: Grid, federation: Federation, nodes: Mapping[int, int], known_rule: KnownRule
    ) -> None:
        super().__init__(grid)
        self._federation = federation
        self._nodes = nodes
        self._known_rule = known_rule
        self._memories: dict[tuple[int, Attack, int | None], dict[str, Tensor]] = defaultdict(dict)
        self._previous_model: Tensor | None = None
        self._triggers: dict[int, Tensor] = {}
        rule = federation.scenario.aggregation
        self._rule_kind = None if isinstance(rule, FlowerClass) else rule_kind(rule.card)
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
        self.seconds = {}
        self._keep_triggers(replies)
        if asked and asked[0].metadata.message_type == MessageType.TRAIN:
            model = from_record(asked[0].content.array_records[ARRAYS], self._federation.layout).cpu()
            server_round = int(str(asked[0].content.config_records[CONFIG][ROUND]))
            began = time.perf_counter()
            if self._rewrite(server_round, model, replies):
                self.seconds = {"attack": time.perf_counter() - began}
            self._previous_model = model
        return iter(replies)  # which lets go of them once they are read, while the next round trains

    def _keep_triggers(self, replies: Iterable[Message]) -> None:
        for reply in replies:
            if reply.has_content() and TRIGGER in reply.content:
                trigger = reply.content.array_records[TRIGGER][TRIGGER]
                self._triggers[self._nodes[reply.metadata.src_node_id]] = as_tensor(trigger)
                del reply.content[TRIGGER]

    def _rewrite(self, server_round: int, model: Tensor, replies: Iterable[Message]) -> bool:
        """Rewrite the replies of the groups that craft in this round, and return whether there are any."""
        federation = self._federation
        groups = [
            (index, attackers, pool)
            for index, (attackers, pool) in enumerate(federation.attackers.placed(server_round))
            if attackers.act(server_round) and crafts(attackers.attack)
        ]
        if not groups:
            return False
        updates = {update.node: (update, reply) for update, reply in self._readable(replies)}
        acting = federation.attackers.acting(server_round)
        wanted = any(attackers.handed is Knowledge.OMNISCIENT for _, attackers, _ in groups)
        rows = [
            pair[0].weights.cpu() for node, pair in sorted(updates.items()) if wanted and node not in acting
        ]
        seen = torch.stack(rows).sub_(model) if rows else model.new_zeros(0, len(model))
        for index, attackers, pool in groups:
            own = {node: pair for node, pair in sorted(updates.items()) if node in pool}
            if own:
                sent = crafted(
                    attackers.attack,
                    torch.stack([update.weights.cpu() for update, _ in own.values()]).sub_(model),
                    seen,
                    self._contexts(server_round, model, index, tuple(own), tuple(sorted(updates))),
                    nodes=tuple(own),
                    knowledge=attackers.knowledge,
                )
                for row, (update, reply) in zip(sent, own.values(), strict=True):
                    weights = (model + row).to(update.weights.device)
                    reply.content[ARRAYS] = to_record(weights, federation.layout)
        return True

    def _readable(self, replies: Iterable[Message]) -> Iterable[tuple[Update, Message]]:
        for reply in replies:
            try:
                yield (
                    read_reply(reply, self._nodes[reply.metadata.src_node_id], self._federation.layout),
                    reply,
                )
            except PayloadError:
                continue  # the host drops it and says why

    def _contexts(
        self,
        server_round: int,
        model: Tensor,
        index: int,
        group: tuple[int, ...],
        everyone: tuple[int, ...],
    ) -> ContextOf:
        federation = self._federation
        acting = federation.attackers.acting(server_round)
        others = tuple(node for node in everyone if node not in acting)
        rule = self._known_rule(server_round)

        def context_of(attack: Attack, node: int | None) -> CraftContext:
            nodes = group if node is None else (node,)
            return CraftContext(
                generator=stream(federation.scenario.seed, "craft", repr(attack), str(nodes), server_round),
                round=server_round,
                nodes=nodes,
                seen_nodes=others,
                clients=len(everyone),
                malicious=len(group),
                model=model,
                previous_model=self._previous_model,
                initial_model=federation.initial,
                layout=federation.layout,
                rule=rule,
                rule_kind=self._rule_kind,
                tolerated=federation.scenario.byzantine,
                memory=self._memories[index, attack, node],
            )

        return context_of


def rule_kind(card: Card) -> RuleKind:
    """Return what `CraftContext.rule_kind` says of a rule; what it knows of the model has all coordinates."""
    if {"history", "model", "root data"} & set(card.needs):
        return None
    return "turns" if card.rotation_equivariant else "by coordinate" if card.coordinate_wise else None

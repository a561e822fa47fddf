"""The attacker on the wire: rewrites what malicious nodes send, seeing only what its knowledge allows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import torch
from flwr.app import Message, MessageType
from flwr.serverapp import Grid
from torch import Tensor

from clients.attacks.base import TRIGGER, Attack, CraftContext, Knowledge, RuleKind, crafts_updates
from clients.attacks.composite import ContextFactory, craft_updates
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
from fedpoison.rng import generator_for
from fedpoison.scenario.aggregation import FlowerStrategy
from strategies.base import RuleCard

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
        client_ids: the scenario's node behind each node id of the grid.
        known_rule: the server's rule, for attacks that know it.
    """

    def __init__(
        self, grid: Grid, federation: Federation, client_ids: Mapping[int, int], known_rule: KnownRule
    ) -> None:
        super().__init__(grid)
        self._federation = federation
        self._client_ids = client_ids
        self._known_rule = known_rule
        self._memories: dict[tuple[int, Attack, int | None], dict[str, Tensor]] = defaultdict(dict)
        self._previous_model: Tensor | None = None
        self._triggers: dict[int, Tensor] = {}
        rule = federation.scenario.aggregation
        self._rule_kind = None if isinstance(rule, FlowerStrategy) else rule_kind(rule.card)
        self.seconds: dict[str, float] = {}
        """How long the attacker took in the last round."""

    @property
    def triggers(self) -> list[Tensor]:
        """The latest trigger of each malicious node that has learned one, in the order of the nodes."""
        return [self._triggers[client_id] for client_id in sorted(self._triggers)]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the replies, those of malicious nodes rewritten."""
        asked = list(messages)
        replies = list(self.inner.send_and_receive(asked, timeout=timeout))
        self.seconds = {}
        self._collect_triggers(replies)
        if asked and asked[0].metadata.message_type == MessageType.TRAIN:
            model = from_record(asked[0].content.array_records[ARRAYS], self._federation.layout).cpu()
            server_round = int(str(asked[0].content.config_records[CONFIG][ROUND]))
            began = time.perf_counter()
            if self._replace_updates(server_round, model, replies):
                self.seconds = {"attack": time.perf_counter() - began}
            self._previous_model = model
        return iter(replies)  # which lets go of them once they are read, while the next round trains

    def _collect_triggers(self, replies: Iterable[Message]) -> None:
        for reply in replies:
            if reply.has_content() and TRIGGER in reply.content:
                trigger = reply.content.array_records[TRIGGER][TRIGGER]
                self._triggers[self._client_ids[reply.metadata.src_node_id]] = as_tensor(trigger)
                del reply.content[TRIGGER]

    def _replace_updates(self, server_round: int, model: Tensor, replies: Iterable[Message]) -> bool:
        """Rewrite the replies of the groups that craft in this round, and return whether there are any."""
        federation = self._federation
        groups = [
            (index, attackers, pool)
            for index, (attackers, pool) in enumerate(federation.attackers.placed(server_round))
            if attackers.is_active(server_round) and crafts_updates(attackers.attack)
        ]
        if not groups:
            return False
        updates = {update.client_id: (update, reply) for update, reply in self._readable_updates(replies)}
        acting = federation.attackers.acting(server_round)
        wanted = any(attackers.effective_knowledge is Knowledge.OMNISCIENT for _, attackers, _ in groups)
        rows = [
            pair[0].weights.cpu()
            for client_id, pair in sorted(updates.items())
            if wanted and client_id not in acting
        ]
        seen = torch.stack(rows).sub_(model) if rows else model.new_zeros(0, len(model))
        for index, attackers, pool in groups:
            own = {client_id: pair for client_id, pair in sorted(updates.items()) if client_id in pool}
            if own:
                sent = craft_updates(
                    attackers.attack,
                    torch.stack([update.weights.cpu() for update, _ in own.values()]).sub_(model),
                    seen,
                    self._contexts(server_round, model, index, tuple(own), tuple(sorted(updates))),
                    client_ids=tuple(own),
                    knowledge=attackers.knowledge,
                )
                for row, (update, reply) in zip(sent, own.values(), strict=True):
                    weights = (model + row).to(update.weights.device)
                    reply.content[ARRAYS] = to_record(weights, federation.layout)
        return True

    def _readable_updates(self, replies: Iterable[Message]) -> Iterable[tuple[Update, Message]]:
        for reply in replies:
            try:
                yield (
                    read_reply(reply, self._client_ids[reply.metadata.src_node_id], self._federation.layout),
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
    ) -> ContextFactory:
        federation = self._federation
        acting = federation.attackers.acting(server_round)
        others = tuple(client_id for client_id in everyone if client_id not in acting)
        rule = self._known_rule(server_round)

        def build_context(attack: Attack, client_id: int | None) -> CraftContext:
            client_ids = group if client_id is None else (client_id,)
            return CraftContext(
                generator=generator_for(
                    federation.scenario.seed, "craft", repr(attack), str(client_ids), server_round
                ),
                round=server_round,
                client_ids=client_ids,
                seen_client_ids=others,
                clients=len(everyone),
                malicious=len(group),
                model=model,
                previous_model=self._previous_model,
                initial_model=federation.initial,
                layout=federation.layout,
                rule=rule,
                rule_kind=self._rule_kind,
                tolerated=federation.scenario.byzantine,
                memory=self._memories[index, attack, client_id],
            )

        return build_context


def rule_kind(card: RuleCard) -> RuleKind:
    """Return what `CraftContext.rule_kind` says of a rule; what it knows of the model has all coordinates."""
    if {"history", "model", "root data"} & set(card.needs):
        return None
    return "turns" if card.rotation_equivariant else "by coordinate" if card.coordinate_wise else None

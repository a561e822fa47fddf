"""The attacker: replaces the updates of malicious clients, within the limits of its knowledge."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from flwr.app import Message, MessageType
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from torch import Tensor

from clients.attacks.base import (
    TRIGGER,
    Attack,
    CraftContext,
    Knowledge,
    OwnTraining,
    RuleKind,
    crafts_updates,
)
from clients.attacks.composite import ContextFactory, craft_updates, crafts_by_itself
from clients.training.batch import poisoned_samples
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.errors import code_error, code_errors
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import WrappedGrid
from fedpoison.federation.messages import (
    ARRAYS,
    BUFFERS,
    CHANGED,
    CONFIG,
    ROUND,
    PayloadError,
    Update,
    as_tensor,
    from_record,
    read_reply,
    to_record,
)
from fedpoison.federation.rule_runner import TriedRule
from fedpoison.results.checkpoint import Key, RunState, owned_by, owner_state
from fedpoison.results.effects import Effects
from fedpoison.rng import generator_for
from fedpoison.scenario.aggregation import FlowerStrategy
from strategies.base import RuleCard

CRASHES = (
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION,
    ErrorCode.CLIENT_APP_CRASHED,
)
"""Errors of Flower that report an exception in the code of a client."""
ROUNDING = 1e-5
"""Largest difference of two updates, relative to their length, that counts as rounding."""
KnownRule = Callable[[int, Sequence[Update]], TriedRule | None]
"""`known_rule(round, updates)` returns the server's rule of that round for the clients of these updates, or
None if attacks cannot know it."""


class AdversaryGrid(WrappedGrid):
    """Grid that replaces the updates of malicious clients after all clients of a round have trained.

    Each group attacks independently, and its clients share their knowledge. An omniscient group sees the
    updates of all clients that are honest in this round, including those of inactive groups. No group sees
    the updates of another active group. Attacks run on the CPU, since their generators are CPU generators.

    Args:
        grid: Grid of the engine.
        federation: Federation of the scenario.
        client_ids: Client of each node id of the grid.
        known_rule: Rule of the server, for attacks that know it.
    """

    def __init__(
        self, grid: Grid, federation: Federation, client_ids: Mapping[int, int], known_rule: KnownRule
    ) -> None:
        super().__init__(grid)
        self._federation = federation
        self._client_ids = client_ids
        self._known_rule = known_rule
        self._memories: defaultdict[tuple[int, str, int | None], dict[str, Tensor]] = defaultdict(dict)
        """Memory by group, attack (its `repr`) and client. None: the clients of the group share a memory."""
        self._previous_model: Tensor | None = None
        self._trainer: Trainer | None = None
        self._buffers = dict(federation.initial_buffers)
        """Global buffers before the round."""
        self._triggers: dict[int, Tensor] = {}
        rule = federation.scenario.aggregation
        self._rule_kind = None if isinstance(rule, FlowerStrategy) else rule_kind(rule.card)
        self.seconds: dict[str, float] = {}
        """Duration of the attack in the last round, in seconds. Empty if no group attacked."""
        self.effects = Effects()
        """Effects of the attacks in the last round."""

    @property
    def triggers(self) -> list[Tensor]:
        """The latest learned trigger of each malicious client that has one, in the order of the clients."""
        return [self._triggers[client_id] for client_id in sorted(self._triggers)]

    def state(self) -> dict[Key, Tensor]:
        """Return what the attackers remember after a round, for a checkpoint."""
        seen = {} if self._previous_model is None else {"model": self._previous_model}
        memories: dict[Key, Tensor] = {
            (*owner, name): kept for owner, memory in self._memories.items() for name, kept in memory.items()
        }
        triggers: dict[Key, Tensor] = {(client_id,): trigger for client_id, trigger in self._triggers.items()}
        return owned_by("attack", memories) | owned_by("trigger", triggers) | owned_by("attacker", seen)

    def restore(self, state: RunState) -> None:
        """Set the state that `state` returned."""
        for (index, attack, client_id, name), kept in owner_state("attack", state).items():
            owner = int(str(index)), str(attack), None if client_id is None else int(client_id)
            self._memories[owner][str(name)] = kept
        for (client_id,), trigger in owner_state("trigger", state).items():
            self._triggers[int(str(client_id))] = trigger
        self._previous_model = state.get(("attacker", "model"))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the replies, with the updates of malicious clients replaced."""
        sent = list(messages)
        replies = list(self.inner.send_and_receive(sent, timeout=timeout))
        if sent and sent[0].metadata.message_type == MessageType.TRAIN:
            self.seconds, self.effects = {}, Effects()
            self._collect_reports(replies)
            model = from_record(sent[0].content.array_records[ARRAYS], self._federation.layout).cpu()
            server_round = int(str(sent[0].content.config_records[CONFIG][ROUND]))
            self._stop_at_crash(server_round, replies)
            if BUFFERS in sent[0].content.array_records:
                buffers = sent[0].content.array_records[BUFFERS]
                self._buffers |= {name: as_tensor(kept) for name, kept in buffers.items()}
            began = time.perf_counter()
            if self._replace_updates(server_round, model, replies):
                self.seconds = {"attack": time.perf_counter() - began}
            self._previous_model = model
        return iter(replies)  # an iterator frees each reply after use, while the next round trains

    def _stop_at_crash(self, server_round: int, replies: Iterable[Message]) -> None:
        """Raise CrashError if the code of a client raised. A crashed attack must not look like a weak one."""
        for reply in replies:
            if reply.has_error() and reply.error.code in CRASHES:
                client_id = self._client_ids[reply.metadata.src_node_id]
                raise code_error(self._place(server_round, client_id), reply.error.reason or "")

    def _place(self, server_round: int, *client_ids: int) -> str:
        """Return the round, the clients and their attack, for error messages."""
        named = ", ".join(map(str, client_ids))
        place = f"round {server_round}, client{'s' * (len(client_ids) > 1)} {named}"
        for group, members in self._federation.selection.groups_with_members(server_round):
            if group.is_active(server_round) and client_ids[0] in members:
                return f"{place}, attack {group.attack}"
        return f"{place}, honest training"

    def _collect_reports(self, replies: Iterable[Message]) -> None:
        """Remove what malicious clients report to the attacker from their replies."""
        for reply in replies:
            if not reply.has_content():
                continue
            client_id = self._client_ids[reply.metadata.src_node_id]
            if TRIGGER in reply.content:
                self._triggers[client_id] = as_tensor(reply.content.array_records[TRIGGER][TRIGGER])
                del reply.content[TRIGGER]
            if CHANGED in reply.content:
                self.effects.data[client_id] = bool(reply.content.config_records[CHANGED][CHANGED])
                del reply.content[CHANGED]

    def _replace_updates(self, server_round: int, model: Tensor, replies: Iterable[Message]) -> bool:
        """Replace the updates of groups that craft updates in this round. Return whether there are any."""
        selection = self._federation.selection
        groups = [
            (index, group, members)
            for index, (group, members) in enumerate(selection.groups_with_members(server_round))
            if group.is_active(server_round) and crafts_updates(group.built_attack)
        ]
        if not groups:
            return False
        readable = sorted(self._readable_updates(replies), key=lambda found: found[0].client_id)
        updates = {update.client_id: (update, reply) for update, reply in readable}
        rule = self._known_rule(server_round, [update for update, _ in readable])
        honest = tuple(sorted(updates.keys() - selection.attacking(server_round)))
        # Only omniscient attacks see honest updates: other attacks need no copy of them.
        omniscient = any(group.effective_knowledge is Knowledge.OMNISCIENT for _, group, _ in groups)
        rows = [updates[client_id][0].weights.cpu() for client_id in honest if omniscient]
        seen = torch.stack(rows).sub_(model) if rows else model.new_zeros(0, len(model))
        for index, group, members in groups:
            own = {client_id: updates[client_id] for client_id in sorted(updates.keys() & members)}
            if own:
                with code_errors(self._place(server_round, *own)):
                    crafted = craft_updates(
                        group.built_attack,
                        torch.stack([update.weights.cpu() for update, _ in own.values()]).sub_(model),
                        seen,
                        self._contexts(
                            server_round,
                            model,
                            index,
                            tuple(own),
                            honest=honest,
                            received=tuple(updates),
                            rule=rule,
                        ),
                        client_ids=tuple(own),
                        knowledge=None if group.knowledge is None else Knowledge(group.knowledge),
                    )
                    for row, (update, reply) in zip(crafted, own.values(), strict=True):
                        if crafts_by_itself(group.built_attack):
                            changed = differ(row, update.weights.cpu() - model)
                            self.effects.updates[update.client_id] = changed
                        weights = (model + row).to(update.weights.device)
                        reply.content[ARRAYS] = to_record(weights, self._federation.layout)
        return True

    def _readable_updates(self, replies: Iterable[Message]) -> Iterable[tuple[Update, Message]]:
        for reply in replies:
            try:
                client_id = self._client_ids[reply.metadata.src_node_id]
                federation = self._federation
                yield read_reply(reply, client_id, federation.layout, federation.shared_buffers), reply
            except PayloadError:
                continue  # the server strategy drops the reply, and records the reason

    def _contexts(
        self,
        server_round: int,
        model: Tensor,
        index: int,
        own: tuple[int, ...],
        *,
        honest: tuple[int, ...],
        received: tuple[int, ...],
        rule: TriedRule | None,
    ) -> ContextFactory:
        federation = self._federation

        def build_context(attack: Attack, client_id: int | None) -> CraftContext:
            client_ids = own if client_id is None else (client_id,)
            return CraftContext(
                generator=generator_for(
                    federation.scenario.seed, "craft", repr(attack), str(client_ids), server_round
                ),
                round=server_round,
                client_ids=client_ids,
                seen_client_ids=honest,
                group_client_ids=own,
                round_client_ids=received,
                clients=len(received),
                malicious=len(own),
                model=model,
                previous_model=self._previous_model,
                initial_model=federation.initial,
                layout=federation.layout,
                rule=None if rule is None else lambda updates: rule(updates).update,
                trust=None if rule is None else lambda updates: rule(updates).trust,
                rule_kind=self._rule_kind,
                tolerated=federation.scenario.byzantine,
                memory=self._memories[index, repr(attack), client_id],
                own_training=self._own_training(server_round, model),
            )

        return build_context

    def _own_training(self, server_round: int, model: Tensor) -> OwnTraining:
        """Return the attacker's trainer, and the data of its clients in a round."""

        def trainer() -> Trainer:
            if self._trainer is None:
                self._trainer = self._federation.trainer()
            self._trainer.load(model, self._buffers)
            return self._trainer

        def samples(client_id: int) -> Samples:
            job = self._federation.job(
                client_id, server_round, model, self._previous_model, {}, buffers=self._buffers
            )
            return poisoned_samples(trainer(), job)

        return OwnTraining(trainer=trainer, samples=samples)


def differ(sent: Tensor, own: Tensor) -> bool:
    """Return whether the update that an attack sends (d,) differs from the client's own, beyond rounding.

    >>> own = torch.tensor([3.0, 4.0])
    >>> differ(own * (1 + 1e-7), own), differ(-own, own), differ(own * torch.nan, own)
    (False, True, True)
    """
    return not float((sent - own).norm()) <= ROUNDING * float(own.norm())


def rule_kind(card: RuleCard) -> RuleKind:
    """Return `CraftContext.rule_kind` of a rule. A rule that needs the model needs all coordinates."""
    if {"history", "model", "root data", "root images"} & set(card.needs):
        return None
    return "turns" if card.rotation_equivariant else "by coordinate" if card.coordinate_wise else None

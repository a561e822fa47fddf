"""A strategy that replaces the updates of malicious clients before the strategy that it wraps."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from clients.attacks.base import Attack, CraftContext, crafts_updates
from clients.attacks.composite import ContextFactory, craft_updates, parts_of
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.federation.adversary import rule_kind
from fedpoison.federation.messages import PARTITION
from fedpoison.flower.arrays import BUFFERS
from fedpoison.flower.attack_argument import read_update_attack
from fedpoison.flower.malicious import PARTITIONS, Malicious
from fedpoison.flower.replies import Reply, read_round, signed, unsigned
from fedpoison.flower.robust_strategy import RobustStrategy
from fedpoison.flower.wrapping import LOGGER, WrappingStrategy
from fedpoison.rng import generator_for
from strategies.base import AggregationRule
from strategies.pipeline import Pipeline

_OWN = ("round", "malicious", "initial model", "last model")
_MEMORY, _WRAPPED = "memory: ", "strategy: "
"""Beginnings of the names of entries in a state."""


@runtime_checkable
class _HasState(Protocol):
    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class AttackedStrategy(WrappingStrategy):
    """Strategy in which the server simulates the attacker of a federation.

    After all clients have replied, the attack replaces the updates of the malicious clients. It gets the
    knowledge that its card declares: the own update, the updates of all malicious clients, or all updates.
    An attack that knows the rule needs a `RobustStrategy` inside. The wrapped strategy then aggregates.

    If all clients report `partition-id` and `num-partitions` in their metrics, these determine who is
    malicious, as in `update_mod` and `poison_dataset`. Otherwise the node ids do. Each simulation
    draws new node ids.

    Args:
        strategy: Any strategy of Flower's Message API, or a `RobustStrategy`.
        attack: An attack on updates, as text or object.
        malicious: Share of malicious clients, 0 to 1.
        nodes: Malicious clients, in place of a share: numbers of partitions, or node ids.
        buffers: As for `RobustStrategy`. The attack does not change buffers.
        seed: Seed of the decision who is malicious, and of the attack's random draws.

    Raises:
        ScenarioError: the attack is unknown, changes data or training, or needs a rule that it cannot know.
    """

    def __init__(
        self,
        strategy: Strategy,
        attack: str | Attack,
        *,
        malicious: float | None = None,
        nodes: Collection[int] = (),
        buffers: Collection[str] = BUFFERS,
        seed: int = 0,
    ) -> None:
        super().__init__(strategy, buffers)
        self.attack = read_update_attack(attack)
        self.malicious: set[int] = set()
        """Clients whose updates were replaced so far, by node id."""
        self._who = Malicious.read(malicious, nodes, seed)
        self._seed = seed
        self._node_ids: set[int] = set()
        self._round, self._rounds_before = 0, 0
        self._last: Tensor | None = None
        self._previous: Tensor | None = None
        self._initial: Tensor | None = None
        self._memories: defaultdict[tuple[str, int | None], dict[str, Tensor]] = defaultdict(dict)
        if self.attack.card.knows_rule and self._robust is None:
            raise ScenarioError(
                f"attack {self.attack!r}: needs the server's rule, got {type(strategy).__name__}, whose rule "
                "it cannot call; wrap a RobustStrategy, or choose another attack."
            )

    def __repr__(self) -> str:
        return f"AttackedStrategy({self.wrapped!r}, {self.attack!r})"

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the train messages of the wrapped strategy."""
        self._round = server_round + self._rounds_before
        self._previous = self._last if self._model is None else self._model.vector
        messages = super().configure_train(server_round, arrays, config, grid)
        self._initial = self.model.vector if self._initial is None else self._initial
        self._node_ids |= set(grid.get_node_ids())
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Replace the updates of the malicious clients, and aggregate with the wrapped strategy.

        Raises:
            ScenarioError: no listed client exists.
            CrashError: the code of the attack raised an exception.
        """
        received = list(replies)
        with code_errors(f"round {self._round}, attack {self.attack!r}"):
            self._replace_updates(server_round, received)
        return self.wrapped.aggregate_train(server_round, received)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of the attack and of the wrapped strategy after a round, by name.

        The state of the attack are its memory, the models that it has seen, the number of rounds, and the
        malicious clients so far. The wrapped strategy has a state if it has the method `state_dict`.
        """
        state = {
            "round": torch.tensor(self._round),
            "malicious": torch.tensor(sorted(map(signed, self.malicious)), dtype=torch.int64),
        }
        last = self._last if self._model is None else self._model.vector
        models = {"initial model": self._initial, "last model": last}
        state |= {name: model for name, model in models.items() if model is not None}
        for (part, client_id), memory in self._memories.items():
            state |= {_MEMORY + json.dumps([part, client_id, name]): kept for name, kept in memory.items()}
        if isinstance(self.wrapped, _HasState):
            state |= {_WRAPPED + name: kept for name, kept in self.wrapped.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue after the round of `state_dict`. The next round of Flower gets the next number.

        Raises:
            ScenarioError: the state has an entry that this strategy does not have.
        """
        parts = {repr(part) for part in parts_of(self.attack)}
        memories: defaultdict[tuple[str, int | None], dict[str, Tensor]] = defaultdict(dict)
        wrapped: dict[str, Tensor] = {}
        for key, kept in state.items():
            part, client_id, entry = _memory_name(key)
            if part in parts:
                memories[part, client_id][entry] = kept
            elif key.startswith(_WRAPPED) and isinstance(self.wrapped, _HasState):
                wrapped[key.removeprefix(_WRAPPED)] = kept
            elif key not in _OWN:
                raise ScenarioError(
                    f"state_dict: got the entry {key!r}, expected the entries of {self!r}; load it into a "
                    "strategy with the attack and the wrapped strategy of the one that it is from."
                )
        if isinstance(self.wrapped, _HasState):
            self.wrapped.load_state_dict(wrapped)
        self._memories = memories
        self._initial, self._last = state.get("initial model"), state.get("last model")
        self.malicious = {unsigned(node_id) for node_id in state["malicious"].tolist()}
        self._round = self._rounds_before = int(state["round"])

    @property
    def _robust(self) -> RobustStrategy | None:
        inner: Strategy = self.wrapped
        while isinstance(inner, AttackedStrategy):
            inner = inner.wrapped
        return inner if isinstance(inner, RobustStrategy) else None

    def _replace_updates(self, server_round: int, received: Sequence[Message]) -> None:
        robust = self._robust
        usable = (
            read_round(received, self._sent, self.model, self.examples_key)
            if robust is None
            else robust.read(received)
        ).usable
        ids, malicious = self._identify(usable)
        ordered = sorted(usable, key=lambda reply: ids[reply.node_id])
        own = [reply for reply in ordered if reply.node_id in malicious]
        honest = [reply for reply in ordered if reply.node_id not in malicious]
        rule = None
        if self.attack.card.knows_rule and robust is not None:
            rule = robust.known_rule(server_round, usable)
        if not own or (self.attack.card.knows_rule and rule is None):
            LOGGER.info("round %d: no update was attacked.", self._round)
            return
        client_ids = tuple(ids[reply.node_id] for reply in own)

        def build_context(part: Attack, client_id: int | None) -> CraftContext:
            crafting = client_ids if client_id is None else (client_id,)
            return CraftContext(
                generator=generator_for(self._seed, "craft", repr(part), str(crafting), self._round),
                round=self._round,
                client_ids=crafting,
                seen_client_ids=tuple(ids[reply.node_id] for reply in honest),
                group_client_ids=client_ids,
                round_client_ids=tuple(ids[reply.node_id] for reply in usable),
                clients=len(usable),
                malicious=len(own),
                model=self.model.vector,
                previous_model=self._previous,
                initial_model=self._initial,
                layout=self.model.layout,
                rule=None if rule is None else lambda updates: rule(updates).update,
                trust=None if rule is None else lambda updates: rule(updates).trust,
                rule_kind=None if robust is None else rule_kind(robust.rule.card),
                tolerated=None if robust is None else _tolerated(robust.rule, len(own)),
                memory=self._memories[repr(part), client_id],
            )

        self._craft(own, honest, client_ids, build_context)

    def _craft(
        self,
        own: Sequence[Reply],
        honest: Sequence[Reply],
        client_ids: tuple[int, ...],
        build_context: ContextFactory,
    ) -> None:
        start = self.model.vector
        seen = [reply.weights - start for reply in honest]
        crafted = craft_updates(
            self.attack,
            torch.stack([reply.weights for reply in own]).sub_(start),
            torch.stack(seen) if seen else start.new_zeros(0, len(start)),
            build_context,
            client_ids=client_ids,
        )
        if not crafts_updates(self.attack):
            return
        for reply, row in zip(own, crafted, strict=True):
            reply.message.content = self.model.replace_weights(reply.message.content, start + row)
            self.malicious.add(reply.node_id)

    def _identify(self, usable: Sequence[Reply]) -> tuple[dict[int, int], set[int]]:
        """Return the identity of each client by its node id, and the node ids of the malicious clients."""
        partitions = {reply.node_id: _metric(reply, PARTITION) for reply in usable}
        counts = {_metric(reply, PARTITIONS) for reply in usable}
        known = {node_id: number for node_id, number in partitions.items() if number is not None}
        listed = set(self._who.of_nodes(self._node_ids))
        if len(known) == len(usable) and len(counts) == 1 and None not in counts:
            (count,) = counts
            chosen = set(self._who.of_partitions(int(count or 0)))
            listed = set() if self._who.share is not None else listed
            return known, listed | {node_id for node_id, number in known.items() if number in chosen}
        if self._who.share is None and not listed:
            raise ScenarioError(
                f"nodes: got {list(self._who.nodes)}, none of which is a node id of this federation, and the "
                f"clients do not report {PARTITION} and {PARTITIONS}; return both in the MetricRecord, or "
                "give node ids."
            )
        return {reply.node_id: signed(reply.node_id) for reply in usable}, listed


def _memory_name(key: str) -> tuple[str, int | None, str]:
    """Return the attack, the client and the name of an entry of a memory. Others have no attack."""
    if not key.startswith(_MEMORY):
        return "", None, ""
    part, client_id, name = json.loads(key.removeprefix(_MEMORY))
    return str(part), client_id, str(name)


def _metric(reply: Reply, key: str) -> int | None:
    for record in reply.message.content.metric_records.values():
        value = record.get(key)
        if isinstance(value, int | float) and value == int(value):
            return int(value)
    return None


def _tolerated(rule: AggregationRule, default: int) -> int:
    inner = rule.rule if isinstance(rule, Pipeline) else rule
    return int(getattr(inner, "byzantine", default))

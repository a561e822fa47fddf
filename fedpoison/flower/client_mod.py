"""A mod of Flower's ClientApp: an attacker who sees its own update and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, MutableMapping

import torch
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod
from torch import Tensor

from clients.attacks.base import Attack, CraftContext, Knowledge
from clients.attacks.composite import craft_updates, parts_of
from fedpoison.errors import ScenarioError
from fedpoison.federation.messages import ROUND, as_tensor
from fedpoison.flower.arrays import BUFFERS, ModelArrays
from fedpoison.flower.attack_argument import read_update_attack
from fedpoison.flower.malicious import PARTITIONS, Malicious, Place
from fedpoison.rng import generator_for

MEMORY = "fedpoison-attack"
"""Key of the attack's memory in the state of a client."""
PREVIOUS, INITIAL, LAST_ROUND = "previous model", "initial model", "round"


def update_mod(
    attack: str | Attack,
    *,
    malicious: float | None = None,
    nodes: Collection[int] = (),
    buffers: Collection[str] = BUFFERS,
    seed: int = 0,
) -> Mod:
    """Return a mod that replaces the update of a malicious client after its training.

    The mod belongs into `ClientApp(mods=[...])` or `@app.train(mods=[...])`. Honest clients reply as without
    it. An attack that sees updates of other clients needs `AttackedStrategy`.

    Args:
        attack: An attack on updates with the knowledge `own`, as text or object.
        malicious: Share of malicious clients, 0 to 1. It needs `partition-id` and `num-partitions` in
            `node_config`. A simulation sets both.
        nodes: Malicious clients, in place of a share: numbers of partitions, or node ids.
        buffers: As for `RobustStrategy`. The attack does not change buffers.
        seed: Seed of the decision who is malicious, and of the attack's random draws.

    Raises:
        ScenarioError: the attack is unknown, changes data or training, or needs more knowledge.
    """
    read = read_update_attack(attack)
    for part in parts_of(read):
        if part.card.knowledge is not Knowledge.OWN or part.card.knows_rule:
            known = "the server's rule" if part.card.knows_rule else f"{part.card.knowledge.value} knowledge"
            raise ScenarioError(
                f"attack {part!r}: needs {known}, and a client has only its own update; use "
                "fedpoison.flower.AttackedStrategy in the ServerApp."
            )
    who = Malicious.read(malicious, nodes, seed)

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        training = message.metadata.message_type.partition(".")[0] == MessageType.TRAIN
        place = who.place_of(context) if training else None
        if place is None:
            return call_next(message, context)
        sent = ModelArrays.read(message.content.array_records.values(), buffers)
        server_round = _round_of(message.content, context.state)
        reply = call_next(message, context)
        if reply.has_content():
            with_memory = _Attacker(read, seed, place, sent)
            reply.content = with_memory.attacked(reply.content, server_round, context)
        return reply

    return mod


def stored_memory(state: RecordDict, key: str) -> dict[str, Tensor]:
    """Return the memory that the state of a client contains under `key`."""
    record = state.array_records.get(key)
    return {} if record is None else {name: as_tensor(array) for name, array in record.items()}


def store_memory(state: RecordDict, key: str, memory: MutableMapping[str, Tensor]) -> None:
    """Save a memory in the state of a client under `key`."""
    record = ArrayRecord()
    for name, kept in memory.items():
        record[name] = Array(kept)
    state[key] = record


class _Attacker:
    """The attack of one client in one round."""

    def __init__(self, attack: Attack, seed: int, place: Place, sent: ModelArrays) -> None:
        self._attack, self._seed, self._place, self._sent = attack, seed, place, sent

    def attacked(self, content: RecordDict, server_round: int, context: Context) -> RecordDict:
        """Return the content of the reply with the crafted update, and save the memory of the attack."""
        start = self._sent.vector
        trained, _ = self._sent.read_reply(content.array_records.values())
        stored = stored_memory(context.state, MEMORY)
        stored.setdefault(INITIAL, start)
        memories = {repr(part): _part(stored, repr(part)) for part in parts_of(self._attack)}

        def build_context(part: Attack, _: int | None) -> CraftContext:
            ids = (self._place.client_id,)
            return CraftContext(
                generator=generator_for(self._seed, "craft", repr(part), str(ids), server_round),
                round=server_round,
                client_ids=ids,
                clients=int(str(context.node_config.get(PARTITIONS, 1))),
                malicious=self._place.size,
                model=start,
                previous_model=stored.get(PREVIOUS),
                initial_model=stored[INITIAL],
                layout=self._sent.layout,
                memory=memories[repr(part)],
            )

        (row,) = craft_updates(
            self._attack,
            (trained - start)[None],
            start.new_zeros(0, len(start)),
            build_context,
            client_ids=(self._place.client_id,),
        )
        kept = {INITIAL: stored[INITIAL], PREVIOUS: start, LAST_ROUND: torch.tensor(server_round)}
        kept |= {
            f"{part}: {name}": value for part, memory in memories.items() for name, value in memory.items()
        }
        store_memory(context.state, MEMORY, kept)
        return self._sent.replace_weights(content, start + row)


def _part(stored: MutableMapping[str, Tensor], owner: str) -> dict[str, Tensor]:
    prefix = f"{owner}: "
    return {name.removeprefix(prefix): kept for name, kept in stored.items() if name.startswith(prefix)}


def _round_of(content: RecordDict, state: RecordDict) -> int:
    """Return the round that the message names, or one more than the last round of this client."""
    for config in content.config_records.values():
        if ROUND in config:
            return int(str(config[ROUND]))
    last: Iterable[Tensor] = [stored_memory(state, MEMORY).get(LAST_ROUND, torch.tensor(0))]
    return int(next(iter(last))) + 1

"""Checkpoints of a run: when they are saved, what they contain, and how a run continues from one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from fedpoison.errors import EngineError
from fedpoison.federation.adversary import AdversaryGrid
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import CONFIG, MEMORY, as_tensor, named_record
from fedpoison.federation.server_strategy import SimulationStrategy
from fedpoison.federation.unrecorded import Unrecorded
from fedpoison.results.checkpoint import Checkpoint, Key, owned_by, owner_state

SHARE = 0.02
"""Largest share of a run's time that is spent on checkpoints."""
BYTES_PER_SECOND = 1e8
"""Speed of the first checkpoint that is assumed. Later checkpoints are measured."""

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Checkpoints:
    """Schedule of the checkpoints of one run.

    By default, a checkpoint is due if all checkpoints together take at most `SHARE` of the run's time.
    """

    save: Callable[[Checkpoint], None]
    """Receives each checkpoint. The next round does not change its tensors in place."""
    every: int | None = None
    """Number of rounds between two checkpoints. Default: by time."""
    start: Checkpoint | None = None
    """Checkpoint from which the run continues. Default: the run starts with round 1."""
    clock: Callable[[], float] = time.perf_counter
    _began: float = field(init=False)
    spent: float = field(default=0.0, init=False)
    """Time of all checkpoints so far, in seconds."""
    _last: float = 0.0
    """Duration of the last checkpoint, in seconds."""

    def __post_init__(self) -> None:
        self._began = self.clock()

    def after_round(self, server_round: int, state_of_run: Callable[[], Checkpoint | None]) -> None:
        """Save a checkpoint after a round if one is due, unless `state_of_run` returns None."""
        due = self._affordable(self._last) if self.every is None else server_round % self.every == 0
        if not due:
            return
        began = self.clock()
        found = state_of_run()
        if found is None:
            return
        if self.every is None and not self._last:
            self._last = found.size / BYTES_PER_SECOND
            if not self._affordable(self._last):
                return
        self.save(found)
        self._last = self.clock() - began
        self.spent += self._last

    def _affordable(self, seconds: float) -> bool:
        return self.spent + seconds <= SHARE * (self.clock() - self._began)


@dataclass(frozen=True, eq=False)
class RunningServer:
    """The parts of a running server whose state a checkpoint contains."""

    federation: Federation
    grid: Grid
    """Grid of the engine, whose clients keep their memories."""
    client_ids: Mapping[int, int]
    """Client of each node id of the grid."""
    strategy: SimulationStrategy
    adversary: AdversaryGrid
    unrecorded: Unrecorded

    def state(self, server_round: int) -> Checkpoint | None:
        """Return the state after a round, or None if a client does not report its memory."""
        memories = self._client_memories()
        if memories is None:
            return None
        state = self.strategy.state() | self.adversary.state() | owned_by("client", memories)
        state |= owned_by("unrecorded", self.unrecorded.state())
        return Checkpoint(self.federation.scenario.run_id, server_round, state)

    def restore(self, start: Checkpoint) -> None:
        """Set server, attackers and clients to the state of a checkpoint.

        Raises:
            EngineError: a client did not take its memory.
        """
        self.strategy.restore(start.round, start.state)
        self.adversary.restore(start.state)
        self.unrecorded.restore(owner_state("unrecorded", start.state))
        memories: dict[int, dict[str, Tensor]] = {}
        for (client_id, name), kept in owner_state("client", start.state).items():
            memories.setdefault(int(str(client_id)), {})[str(name)] = kept
        messages = [
            _query(node_id, RecordDict({CONFIG: ConfigRecord(), MEMORY: named_record(memories[client_id])}))
            for node_id, client_id in self.client_ids.items()
            if client_id in memories
        ]
        for reply in self.grid.send_and_receive(messages) if messages else ():
            if reply.has_error():
                raise EngineError(f"a client did not take its memory of the checkpoint: {reply.error.reason}")

    def _client_memories(self) -> dict[Key, Tensor] | None:
        """Return what the clients remember, by client and name, or None if a client does not report it."""
        scenario = self.federation.scenario
        if not scenario.persistent_momentum and scenario.clean and scenario.buffers == "average":
            return {}  # honest clients remember nothing but momentum and their own buffers
        asked = RecordDict({CONFIG: ConfigRecord({MEMORY: True})})
        memories: dict[Key, Tensor] = {}
        replies = list(self.grid.send_and_receive([_query(node_id, asked) for node_id in self.client_ids]))
        if len(replies) < len(self.client_ids) or any(reply.has_error() for reply in replies):
            _log.warning("no checkpoint after this round: a client did not report its memory.")
            return None
        for reply in replies:
            memory = reply.content.array_records[MEMORY]
            client_id = self.client_ids[reply.metadata.src_node_id]
            memories |= {(client_id, name): as_tensor(kept) for name, kept in memory.items()}
        return memories


def _query(node_id: int, content: RecordDict) -> Message:
    return Message(content, node_id, MessageType.QUERY)

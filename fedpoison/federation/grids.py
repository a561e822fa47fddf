"""Grids between a strategy and the engine, and the discovery of the clients behind a grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedpoison.errors import EngineError
from fedpoison.federation.messages import CONFIG, METRICS, PARTITION

QUIET = 5.0
"""Seconds without a new client after which a federation counts as complete."""
NO_CLIENTS = 60.0
"""Seconds in which the first client has to register."""
POLL = 0.05
"""Seconds between two looks at the clients."""


class MessageGrid(Grid):
    """A grid that creates messages. Subclasses deliver them, and reply at once."""

    def set_run(self, run: Run) -> None:
        """Do nothing: the process has one run, which is in no database."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError("This grid replies at once: call send_and_receive.")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError("This grid replies at once: call send_and_receive.")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)


class WrappedGrid(MessageGrid):
    """A grid that passes messages to another grid."""

    def __init__(self, grid: Grid) -> None:
        self.inner = grid

    @property
    def run(self) -> Run:
        return self.inner.run

    def get_node_ids(self) -> Iterable[int]:
        return self.inner.get_node_ids()

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.inner.send_and_receive(messages, timeout=timeout)


class NodeSubsetGrid(WrappedGrid):
    """A grid that contains only some of the clients."""

    def __init__(self, grid: Grid, nodes: Iterable[int]) -> None:
        super().__init__(grid)
        self._nodes = list(nodes)

    def get_node_ids(self) -> Iterable[int]:
        return self._nodes


def count_nodes(grid: Grid, expected: int | None, *, clock: Callable[[], float] = time.monotonic) -> int:
    """Wait until no more of Flower's nodes register, and return their number.

    Flower starts a ServerApp before the clients are registered.

    Args:
        grid: Grid with the clients.
        expected: Number of clients to wait for. None: any number.
        clock: Returns the time, in seconds.

    Raises:
        EngineError: there are no clients after `NO_CLIENTS` seconds. Or there are fewer than expected, and no
            further client has registered for `QUIET` seconds.
    """
    found, changed = 0, clock()
    while True:
        seen, now = len(list(grid.get_node_ids())), clock()
        if seen != found:
            found, changed = seen, now
        complete = expected is not None and found >= expected
        if complete or now - changed > (QUIET if found else NO_CLIENTS):
            break
        time.sleep(POLL)
    if not found or (expected is not None and found < expected):
        remedy = f"start {expected} SuperNodes, or set clients={found}" if found else "start SuperNodes"
        raise EngineError(
            f"got a federation of {found} SuperNodes, expected {expected or 'at least one'}; {remedy}. For a "
            f"simulation, use flwr run --federation-config 'num-supernodes={expected or 10}'."
        )
    return found


def discover_clients(grid: Grid, clients: int) -> dict[int, int]:
    """Wait for all clients and return the client (0 to `clients` - 1) of each node id.

    Flower gives clients random node ids. Each client reports the number of its partition, its client id.

    Args:
        grid: Grid with the clients.
        clients: Number of clients in the scenario.

    Raises:
        EngineError: a client is missing, or two clients have the same partition.
    """
    count_nodes(grid, clients)
    ids = sorted(grid.get_node_ids())
    queries = [Message(RecordDict({CONFIG: ConfigRecord()}), node_id, MessageType.QUERY) for node_id in ids]
    nodes = {}
    for reply in grid.send_and_receive(queries):
        if reply.has_error():
            reason = (reply.error.reason or "no reason given").strip().splitlines()[-1]
            raise EngineError(f"a client did not report its partition: {reason}")
        nodes[reply.metadata.src_node_id] = int(str(reply.content.metric_records[METRICS][PARTITION]))
    if sorted(nodes.values()) != list(range(clients)):
        raise EngineError(
            f"got clients with the partitions {sorted(nodes.values())[:10]}..., expected 0 to {clients - 1}, "
            f"each once; start {clients} SuperNodes, each with its own partition-id in --node-config."
        )
    return nodes

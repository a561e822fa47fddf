"""Grids between a strategy and the engine, and the discovery of the clients behind a grid."""

from __future__ import annotations

import time
from collections.abc import Iterable

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fedpoison.errors import EngineError
from fedpoison.federation.messages import CONFIG, METRICS, PARTITION


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


def discover_clients(grid: Grid, clients: int, *, timeout: float = 120.0) -> dict[int, int]:
    """Wait for all clients and return the client (0 to `clients` - 1) of each node id.

    Flower starts a ServerApp before its clients are registered, and gives them random node ids. Each client
    reports the number of its partition, which is the client id.

    Args:
        grid: Grid with the clients.
        clients: Number of clients in the scenario.
        timeout: Longest time to wait, in seconds.

    Raises:
        EngineError: a client is missing after the timeout, or two clients have the same partition.
    """
    deadline = time.monotonic() + timeout
    while len(ids := sorted(grid.get_node_ids())) < clients:
        if time.monotonic() > deadline:
            raise EngineError(
                f"got {len(ids)} clients after {timeout:.0f} s, expected the {clients} of the scenario; "
                f"start the federation with {clients} SuperNodes, or set clients = {len(ids)}."
            )
        time.sleep(0.05)
    queries = [Message(RecordDict({CONFIG: ConfigRecord()}), node_id, MessageType.QUERY) for node_id in ids]
    nodes = {}
    for reply in grid.send_and_receive(queries):
        if reply.has_error():
            raise EngineError(f"a client did not report its partition: {reply.error.reason}")
        nodes[reply.metadata.src_node_id] = int(str(reply.content.metric_records[METRICS][PARTITION]))
    if sorted(nodes.values()) != list(range(clients)):
        raise EngineError(
            f"got clients with the partitions {sorted(nodes.values())[:10]}..., expected 0 to {clients - 1}, "
            f"each once; start the federation with {clients} SuperNodes."
        )
    return nodes

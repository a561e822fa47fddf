"""The base class of the grids of engines, which train the clients of a round in batches."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from flwr.app import Error, Message, MessageType
from flwr.common.constant import ErrorCode
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from torch import Tensor

from fedpoison.federation.client import (
    ClientResult,
    Task,
    TrainRequest,
    answer_query,
    error_line,
    train_reply,
)
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import MessageGrid
from fedpoison.federation.messages import ARRAYS, PREVIOUS, from_record

FIRST_NODE_ID = 2
"""Flower reserves the ids 0 and 1."""

ClientBatch = Sequence[Task]


class EngineGrid(MessageGrid):
    """A Flower grid that converts messages to client batches, and their results to replies.

    The grid stores the memory that clients keep from round to round.

    Args:
        federation: federation whose clients receive the messages.
        workers: number of client batches that train at the same time.
        clients_per_task: number of clients per batch. It does not change results. Default: four batches per
            worker and round.
    """

    def __init__(self, federation: Federation, *, workers: int, clients_per_task: int | None = None) -> None:
        self.workers = workers
        self.environment: dict[str, object] = {}
        """Entries that the engine adds to the `environment.json` of a run."""
        self._federation = federation
        self._clients_per_task = clients_per_task
        self._memories: dict[int, Mapping[str, Tensor]] = {}
        self._message_ids = itertools.count(1)
        # Flower creates a message only in a process that has these ids.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1

    @abstractmethod
    def train(self, client_batches: Sequence[ClientBatch]) -> Iterable[Sequence[ClientResult]]:
        """Return the results of the tasks of each client batch, in order."""

    @property
    def run(self) -> Run:
        return Run.create_empty(TaskIdentity.run_id)

    def get_node_ids(self) -> Iterable[int]:
        return range(FIRST_NODE_ID, FIRST_NODE_ID + self._federation.scenario.clients)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the clients' replies in the order of the messages, after all clients have trained."""
        asked = list(messages)
        for message in asked:
            message.metadata.__dict__["_message_id"] = str(next(self._message_ids))
        if all(message.metadata.message_type == MessageType.TRAIN for message in asked):
            return self._train(asked)
        return [self._reply_to_query(message) for message in asked]

    def _train(self, messages: Sequence[Message]) -> list[Message]:
        models: dict[int, Tensor] = {}  # messages share records: each is decoded once
        for message in messages:
            for name in (ARRAYS, PREVIOUS):
                record = message.content.array_records.get(name)
                if record is not None and id(record) not in models:
                    models[id(record)] = from_record(record, self._federation.layout)
        results: dict[int, ClientResult] = {}
        tasks: dict[int, Task] = {}
        for position, message in enumerate(messages):
            client_id = _client_id(message)
            try:
                request = TrainRequest.read(message, lambda record: models[id(record)])
            except (KeyError, ValueError) as error:  # a strategy with an unknown message format
                results[position] = ClientResult(None, failure=error_line(error))
            else:
                tasks[position] = Task(client_id, request, self._memories.get(client_id, {}))
        trained = itertools.chain.from_iterable(self.train(self._split(list(tasks.values()))))
        results.update(zip(tasks, trained, strict=True))
        return [self._reply(message, results[position]) for position, message in enumerate(messages)]

    def _split(self, tasks: ClientBatch) -> list[ClientBatch]:
        size = self._clients_per_task or max(1, -(-len(tasks) // (4 * self.workers)))
        return [tasks[start : start + size] for start in range(0, len(tasks), size)]

    def _reply(self, message: Message, result: ClientResult) -> Message:
        if result.trained is None:  # the memory of a failed client does not change
            return _failure(message, result.failure)
        self._memories[_client_id(message)] = result.memory
        return Message(train_reply(self._federation.layout, result.trained, result.memory), reply_to=message)

    def _reply_to_query(self, message: Message) -> Message:
        if message.metadata.message_type == MessageType.QUERY:
            client_id = _client_id(message)
            reply, memory = answer_query(message.content, client_id, self._memories.get(client_id, {}))
            self._memories[client_id] = memory
            return Message(reply, reply_to=message)
        return _failure(message, f"no handler for messages of type {message.metadata.message_type}")


def _client_id(message: Message) -> int:
    return message.metadata.dst_node_id - FIRST_NODE_ID


def _failure(message: Message, why: str) -> Message:
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=why), reply_to=message)

"""What the engines share that train a round's nodes in cohorts: a Flower grid that answers at once."""

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
    error_line,
    partition_reply,
    train_reply,
)
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import MessageGrid
from fedpoison.federation.messages import ARRAYS, PREVIOUS, from_record

FIRST_NODE_ID = 2
"""Flower reserves the ids 0 and 1."""

ClientBatch = Sequence[Task]


class EngineGrid(MessageGrid):
    """Turns messages into cohorts of tasks, and what came of them into replies in the messages' order.

    What the nodes remember from round to round is kept here, whoever trains them.

    Args:
        federation: the nodes.
        workers: how many cohorts are trained at once.
        clients_per_task: number of clients that a worker trains in one call. None: four calls per round.
            Changes nothing but the pace.
    """

    def __init__(self, federation: Federation, *, workers: int, clients_per_task: int | None = None) -> None:
        self.workers = workers
        self.facts: dict[str, object] = {}
        """What a run's `environment.json` tells of the engine besides its name and workers."""
        self._federation = federation
        self._clients_per_task = clients_per_task
        self._memories: dict[int, Mapping[str, Tensor]] = {}
        self._message_ids = itertools.count(1)
        # Messages ask the process who it is before they can be made.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1

    @abstractmethod
    def train(self, client_batches: Sequence[ClientBatch]) -> Iterable[Sequence[ClientResult]]:
        """Return what came of the tasks of each cohort, in order."""

    def set_run(self, run: Run) -> None:
        """There is one run a process, and it has no record in a database."""

    @property
    def run(self) -> Run:
        return Run.create_empty(TaskIdentity.run_id)

    def get_node_ids(self) -> Iterable[int]:
        return range(FIRST_NODE_ID, FIRST_NODE_ID + self._federation.scenario.clients)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError("This grid answers at once: call send_and_receive.")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError("This grid answers at once: call send_and_receive.")

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the nodes' replies in the order of the messages. There is nothing to wait for."""
        asked = list(messages)
        for message in asked:
            message.metadata.__dict__["_message_id"] = str(next(self._message_ids))
        if all(message.metadata.message_type == MessageType.TRAIN for message in asked):
            return self._train(asked)
        return [self._reply_to_query(message) for message in asked]

    def _train(self, messages: Sequence[Message]) -> list[Message]:
        models: dict[int, Tensor] = {}  # messages share their records: read each once
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
            except (KeyError, ValueError) as error:  # a strategy that asks in words of its own
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
        if result.trained is None:  # a failed client's memory stays what it was
            return _failure(message, result.failure)
        self._memories[_client_id(message)] = result.memory
        return Message(train_reply(self._federation.layout, result.trained, result.memory), reply_to=message)

    def _reply_to_query(self, message: Message) -> Message:
        if message.metadata.message_type == MessageType.QUERY:
            return Message(partition_reply(_client_id(message)), reply_to=message)
        return _failure(message, f"no handler for messages of type {message.metadata.message_type}")


def _client_id(message: Message) -> int:
    return message.metadata.dst_node_id - FIRST_NODE_ID


def _failure(message: Message, why: str) -> Message:
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=why), reply_to=message)

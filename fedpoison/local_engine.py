"""The `local` engine: a Flower grid in the calling process."""

from __future__ import annotations

import itertools
import traceback
from collections import defaultdict
from collections.abc import Iterable, Sequence

from flwr.app import Error, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from torch import Tensor

from clients.training import Trainer
from fedpoison.fleet import Fleet
from fedpoison.node import TrainOrder, partition_reply, train_reply
from fedpoison.wire import ARRAYS, PREVIOUS, from_record
from fedpoison.workers import Workers

FIRST_NODE_ID = 2
"""Flower reserves the ids 0 and 1."""


class LocalGrid(Grid):
    """Trains cohorts in worker threads and hands the weights over without serialising them.

    Args:
        fleet: the nodes.
        workers: the threads, each with a model.
        cohort: how many nodes a worker trains in one call. Changes nothing but the pace.
    """

    def __init__(self, fleet: Fleet, workers: Workers, *, cohort: int | None = None) -> None:
        self._fleet = fleet
        self._workers = workers
        self._cohort = cohort
        self._memories: dict[int, dict[str, Tensor]] = defaultdict(dict)
        self._message_ids = itertools.count(1)
        # Messages ask the process who it is before they can be made.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1

    def set_run(self, run: Run) -> None:
        """There is one run a process, and it has no record in a database."""

    @property
    def run(self) -> Run:
        return Run.create_empty(TaskIdentity.run_id)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        return range(FIRST_NODE_ID, FIRST_NODE_ID + self._fleet.scenario.clients)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError("LocalGrid answers at once: call send_and_receive.")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError("LocalGrid answers at once: call send_and_receive.")

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the nodes' replies in the order of the messages. There is nothing to wait for."""
        asked = list(messages)
        for message in asked:
            message.metadata.__dict__["_message_id"] = str(next(self._message_ids))
        if all(message.metadata.message_type == MessageType.TRAIN for message in asked):
            return self._train(asked)
        return [self._answer(message) for message in asked]

    def _train(self, messages: Sequence[Message]) -> list[Message]:
        models: dict[int, Tensor] = {}  # messages share their records: read each once
        for message in messages:
            for name in (ARRAYS, PREVIOUS):
                record = message.content.array_records.get(name)
                if record is not None and id(record) not in models:
                    models[id(record)] = from_record(record, self._fleet.layout)
        size = self._cohort or max(1, -(-len(messages) // (4 * self._workers.count)))
        cohorts = [messages[start : start + size] for start in range(0, len(messages), size)]

        def train(trainer: Trainer, cohort: Sequence[Message]) -> list[Message]:
            return [self._trained(trainer, message, models) for message in cohort]

        return list(itertools.chain.from_iterable(self._workers.map(train, cohorts)))

    def _trained(self, trainer: Trainer, message: Message, models: dict[int, Tensor]) -> Message:
        node = message.metadata.dst_node_id - FIRST_NODE_ID
        memory = dict(self._memories[node])
        try:
            order = TrainOrder.read(message, lambda record: models[id(record)])
            reply = train_reply(self._fleet, trainer, node, order, memory)
        except Exception as error:  # noqa: BLE001  # a client that fails must not end the run
            return _failure(message, error)
        self._memories[node] = memory  # a failed client's memory stays what it was
        return Message(reply, reply_to=message)

    def _answer(self, message: Message) -> Message:
        if message.metadata.message_type == MessageType.QUERY:
            return Message(partition_reply(message.metadata.dst_node_id - FIRST_NODE_ID), reply_to=message)
        return _failure(
            message, ValueError(f"no handler for messages of type {message.metadata.message_type}")
        )


def _failure(message: Message, error: Exception) -> Message:
    reason = "".join(traceback.format_exception_only(error)).strip()
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)

"""The client's side of a run, shared by all engines: read a message, train, and reply."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Self

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from clients.attacks.base import TRIGGER
from clients.training.batch import Job, Trained, train_clients
from clients.training.local_training import LocalTraining
from clients.training.parameters import Buffers, Layout
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.federation.federation import BUFFER, Federation
from fedpoison.federation.messages import (
    ARRAYS,
    BUFFERS,
    CHANGED,
    CONFIG,
    EXAMPLES,
    LOSS,
    MEMORY,
    METRICS,
    PARTITION,
    PREVIOUS,
    PROXIMAL,
    ROUND,
    as_tensor,
    named_record,
    to_record,
)


@dataclass(frozen=True, eq=False)
class TrainRequest:
    """Content of a train message."""

    server_round: int
    model: Tensor
    """Global weights before the round, (d,)."""
    previous_model: Tensor | None
    """Global weights before the previous round, (d,). None for clients that do not attack."""
    proximal: float | None
    """FedProx's mu, if the strategy of Flower sets it."""
    buffers: Buffers = field(default_factory=dict)
    """Global buffers before the round. Do not write to them: the clients of a round share them."""

    @classmethod
    def read(cls, message: Message, weights: Callable[[ArrayRecord], Tensor]) -> Self:
        """Read a train message. `weights` converts its records into vectors."""
        arrays = message.content.array_records
        config = message.content.config_records[CONFIG]
        proximal = config.get(PROXIMAL)
        return cls(
            server_round=int(str(config[ROUND])),
            model=weights(arrays[ARRAYS]),
            previous_model=weights(arrays[PREVIOUS]) if PREVIOUS in arrays else None,
            proximal=None if proximal is None else float(str(proximal)),
            buffers={name: as_tensor(kept) for name, kept in arrays.get(BUFFERS, {}).items()},
        )


@dataclass(frozen=True, eq=False)
class Task:
    """Training of one client in one round."""

    client_id: int
    request: TrainRequest
    memory: Mapping[str, Tensor]
    """Memory of the client from earlier rounds."""


@dataclass(frozen=True, eq=False)
class ClientResult:
    """Result of a task."""

    trained: Trained | None
    """Result of the training. None if the client failed."""
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    """Memory of the client after the round."""
    failure: str = ""
    """Reason of the failure. Empty if the client did not fail."""


def train_or_fail(federation: Federation, trainer: Trainer, task: Task) -> ClientResult:
    """Run a task. An exception becomes the failure in the result, and the server then stops the run."""
    memory = dict(task.memory)
    try:
        trained = train_client(federation, trainer, task.client_id, task.request, memory)
    except Exception as error:  # noqa: BLE001
        return ClientResult(None, failure=error_line(error))
    return ClientResult(trained, memory)


def error_line(error: Exception) -> str:
    """Return the last line of the error's traceback."""
    return "".join(traceback.format_exception_only(error)).strip()


def train_client(
    federation: Federation,
    trainer: Trainer,
    client_id: int,
    request: TrainRequest,
    memory: MutableMapping[str, Tensor],
) -> Trained:
    """Train one client.

    Args:
        federation: Federation of the scenario.
        trainer: Trainer of the federation's model, in any state.
        client_id: Client to train.
        request: Content of the train message.
        memory: Memory of the client between rounds. The client writes to it.
    """
    trainer.training = training_of(federation, request)
    (trained,) = train_clients(trainer, [job_for(federation, client_id, request, memory)])
    return keep_buffers(federation, trained, memory)


def keep_buffers(federation: Federation, trained: Trained, memory: MutableMapping[str, Tensor]) -> Trained:
    """Write the buffers into the client's memory, and remove them from its result, if clients keep them."""
    if federation.scenario.buffers == "average":
        return trained
    memory.update({BUFFER + name: kept for name, kept in trained.buffers.items()})
    return replace(trained, buffers={})


def training_of(federation: Federation, request: TrainRequest) -> LocalTraining:
    """Return the training settings of a request."""
    proximal = federation.scenario.proximal if request.proximal is None else request.proximal
    return replace(federation.scenario.training, proximal=proximal)


def job_for(
    federation: Federation,
    client_id: int,
    request: TrainRequest,
    memory: MutableMapping[str, Tensor],
    *,
    train: Samples | None = None,
) -> Job:
    """Return the client's job for a request. For `train`, see `Federation.job`."""
    return federation.job(
        client_id,
        request.server_round,
        request.model,
        request.previous_model,
        memory,
        train=train,
        buffers=request.buffers,
    )


def train_reply(layout: Layout, trained: Trained, memory: Mapping[str, Tensor]) -> RecordDict:
    """Return the content of a client's reply: trained weights, number of samples and mean loss.

    Args:
        layout: Layout of the model.
        trained: Result of the training. The reply shares memory with it.
        memory: Memory of the client after the round.
    """
    reply = RecordDict(
        {
            ARRAYS: to_record(trained.weights, layout),
            METRICS: MetricRecord(
                {EXAMPLES: trained.examples, LOSS: trained.loss, PARTITION: trained.client_id}
            ),
        }
    )
    if trained.buffers:
        reply[BUFFERS] = named_record(trained.buffers)
    if TRIGGER in memory:  # for the attacker, which removes it from the reply
        reply[TRIGGER] = named_record({TRIGGER: memory[TRIGGER]})
    if trained.changed is not None:  # as above
        reply[CHANGED] = ConfigRecord({CHANGED: trained.changed})
    return reply


def answer_query(
    content: RecordDict, client_id: int, memory: Mapping[str, Tensor]
) -> tuple[RecordDict, Mapping[str, Tensor]]:
    """Return the content of a client's reply to a query, and the memory of the client after the query.

    A query that contains a memory replaces the memory of the client: its run continues from a checkpoint.

    Args:
        content: Content of the query.
        client_id: The client, which is also the number of its partition.
        memory: Memory of the client.
    """
    if MEMORY in content.array_records:
        memory = {name: as_tensor(kept) for name, kept in content.array_records[MEMORY].items()}
    reply = RecordDict({METRICS: MetricRecord({PARTITION: client_id})})
    if content.config_records[CONFIG].get(MEMORY):
        reply[MEMORY] = named_record(memory)
    return reply, memory

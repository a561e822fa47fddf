"""What a node does with a message, whatever engine brought it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Self

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from clients.attacks.base import TRIGGER
from clients.training.batch import Job, Trained, train_clients
from clients.training.parameters import Layout
from clients.training.samples import Samples
from clients.training.trainer import LocalTraining, Trainer
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import (
    ARRAYS,
    CONFIG,
    EXAMPLES,
    LOSS,
    METRICS,
    PARTITION,
    PREVIOUS,
    PROXIMAL,
    ROUND,
    TensorArray,
    to_record,
)


@dataclass(frozen=True, eq=False)
class TrainRequest:
    """What a train message asks for."""

    server_round: int
    model: Tensor
    """The global weights to start from, (d,)."""
    previous_model: Tensor | None
    """Those of the round before."""
    proximal: float | None
    """FedProx's mu, where the server's strategy sets it."""

    @classmethod
    def read(cls, message: Message, weights: Callable[[ArrayRecord], Tensor]) -> Self:
        """Return what `message` asks for, its records turned into vectors by `weights`."""
        arrays = message.content.array_records
        config = message.content.config_records[CONFIG]
        proximal = config.get(PROXIMAL)
        return cls(
            server_round=int(str(config[ROUND])),
            model=weights(arrays[ARRAYS]),
            previous_model=weights(arrays[PREVIOUS]) if PREVIOUS in arrays else None,
            proximal=None if proximal is None else float(str(proximal)),
        )


@dataclass(frozen=True, eq=False)
class Task:
    """One node's part in a round."""

    client_id: int
    request: TrainRequest
    memory: Mapping[str, Tensor]
    """What the node remembers of earlier rounds."""


@dataclass(frozen=True, eq=False)
class ClientResult:
    """What came of a task."""

    trained: Trained | None
    """None where the node failed."""
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    """What the node remembers now."""
    failure: str = ""
    """Why the node failed."""


def train_or_fail(federation: Federation, trainer: Trainer, task: Task) -> ClientResult:
    """Return what comes of a task; a client that raises is an outcome too, and must not end the run."""
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
    """Return what a node's training gives.

    Args:
        federation: the scenario's nodes.
        trainer: a trainer of the fleet's model; its state does not matter.
        client_id: which node trains.
        request: what it is asked to do.
        memory: what it remembers from round to round; written to.
    """
    trainer.training = training_of(federation, request)
    (trained,) = train_clients(trainer, [job_for(federation, client_id, request, memory)])
    return trained


def training_of(federation: Federation, request: TrainRequest) -> LocalTraining:
    """Return how the order asks the fleet's nodes to train."""
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
    """Return the node's job under this order; `train` as for `Federation.job`."""
    return federation.job(
        client_id, request.server_round, request.model, request.previous_model, memory, train=train
    )


def train_reply(layout: Layout, trained: Trained, memory: Mapping[str, Tensor]) -> RecordDict:
    """Return the content of a node's reply: trained weights, example count and mean loss.

    Args:
        layout: the model's.
        trained: what the training gave; the reply shares its memory.
        memory: what the node remembers now.
    """
    reply = RecordDict(
        {
            ARRAYS: to_record(trained.weights, layout),
            METRICS: MetricRecord(
                {EXAMPLES: trained.examples, LOSS: trained.loss, PARTITION: trained.client_id}
            ),
        }
    )
    if TRIGGER in memory:  # for the attacker on the wire, who takes it out
        reply[TRIGGER] = ArrayRecord({TRIGGER: TensorArray(memory[TRIGGER])})
    return reply


def partition_reply(client_id: int) -> RecordDict:
    """Return the content of a node's answer to the roll call."""
    return RecordDict({METRICS: MetricRecord({PARTITION: client_id})})

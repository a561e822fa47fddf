"""What a node does with a message, whatever engine brought it."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Self

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from clients.attack import TRIGGER
from clients.cohort import train_cohort
from clients.training import Trainer
from fedpoison.fleet import Fleet
from fedpoison.wire import (
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
class TrainOrder:
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


def train_reply(
    fleet: Fleet, trainer: Trainer, node: int, order: TrainOrder, memory: MutableMapping[str, Tensor]
) -> RecordDict:
    """Return the content of the node's reply: trained weights, example count and mean loss.

    Args:
        fleet: the scenario's nodes.
        trainer: a trainer of the fleet's model; its state does not matter.
        node: which node trains.
        order: what it is asked to do.
        memory: what it remembers from round to round; written to.
    """
    proximal = fleet.scenario.proximal if order.proximal is None else order.proximal
    trainer.training = replace(fleet.scenario.training, proximal=proximal)
    job = fleet.job(node, order.server_round, order.model, order.previous_model, memory)
    (trained,) = train_cohort(trainer, [job])
    reply = RecordDict(
        {
            ARRAYS: to_record(trained.weights, fleet.layout),
            METRICS: MetricRecord({EXAMPLES: trained.examples, LOSS: trained.loss, PARTITION: node}),
        }
    )
    if TRIGGER in memory:  # for the attacker on the wire, who takes it out
        reply[TRIGGER] = ArrayRecord({TRIGGER: TensorArray(memory[TRIGGER])})
    return reply


def partition_reply(node: int) -> RecordDict:
    """Return the content of a node's answer to the roll call."""
    return RecordDict({METRICS: MetricRecord({PARTITION: node})})

"""What tests of Flower apps share: messages and a grid made by hand, without a runtime."""

from __future__ import annotations

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

NODES = tuple(range(2, 12))
"""Node ids. Flower reserves 0 and 1."""


class HandGrid:
    """A grid of which a strategy only reads the node ids."""

    def __init__(self, nodes=NODES):
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self.nodes = list(nodes)

    def get_node_ids(self):
        return self.nodes


def record(arrays):
    """Return arrays by name, NumPy or torch, as an ArrayRecord."""
    made = ArrayRecord()
    for name, array in arrays.items():
        made[name] = Array(array if isinstance(array, np.ndarray) else array.contiguous())
    return made


def begin(strategy, arrays, *, server_round=1, grid=None):
    """Begin a round with a global model, and return the messages by node id."""
    made = arrays if isinstance(arrays, ArrayRecord) else record(arrays)
    messages = list(strategy.configure_train(server_round, made, ConfigRecord(), grid or HandGrid()))
    for number, message in enumerate(messages):
        message.metadata.__dict__["_message_id"] = str(number + 1)
    return {message.metadata.dst_node_id: message for message in messages}


def reply(message, arrays, examples=10, **metrics):
    """Return a reply with arrays, or with several records of arrays."""
    records = arrays if isinstance(arrays, RecordDict) else {"arrays": record(arrays)}
    values = {} if examples is None else {"num-examples": examples}
    return Message(RecordDict({**records, "metrics": MetricRecord({**values, **metrics})}), reply_to=message)


def failure(message, reason="it broke"):
    return Message(Error(code=0, reason=reason), reply_to=message)


def flat(arrays):
    """Return the floating-point arrays of a record as one float64 vector."""
    parts = [torch.from_numpy(array.numpy()).flatten().double() for array in arrays.values()]
    return torch.cat(parts)


def client_context(partition=None, count=10, node_id=2):
    config = {} if partition is None else {"partition-id": partition, "num-partitions": count}
    return Context(run_id=1, node_id=node_id, node_config=config, state=RecordDict({}), run_config={})

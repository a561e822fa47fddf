"""The ClientApp of `flwr run`, and of real SuperNodes."""

from __future__ import annotations

import functools
from pathlib import Path

from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from torch import Tensor

from clients.training.trainer import Trainer
from fedpoison.federation.client import TrainRequest, partition_reply, train_client, train_reply
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import PARTITION, from_record, read_context
from fedpoison.scenario.scenario import Scenario
from strategies.kernels.columns import use_one_thread

MEMORY = "memory"
"""Where a node's state keeps what it remembers from round to round."""

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train this node's model on its partition, honestly or not."""
    use_one_thread()  # as on every engine: results must not depend on the machine's load
    scenario, _, data_dir = read_context(context)
    federation, trainer = _load_cached(scenario, data_dir)
    memory = _stored_memory(context)
    request = TrainRequest.read(message, lambda record: from_record(record, federation.layout))
    trained = train_client(federation, trainer, _client_id(context), request, memory)
    if memory:
        context.state[MEMORY] = ArrayRecord(dict(memory))
    return Message(train_reply(federation.layout, trained, memory), reply_to=message)


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which partition this node holds."""
    return Message(partition_reply(_client_id(context)), reply_to=message)


@functools.cache
def _load_cached(scenario: Scenario, data_dir: Path | None) -> tuple[Federation, Trainer]:
    """Return the fleet and a trainer, made once in each process."""
    federation = Federation.load(scenario, data_dir=data_dir)
    return federation, Trainer(federation.model(), federation.scenario.training)


def _client_id(context: Context) -> int:
    return int(str(context.node_config[PARTITION]))


def _stored_memory(context: Context) -> dict[str, Tensor]:
    kept = context.state.array_records.get(MEMORY)
    return {} if kept is None else dict(kept.to_torch_state_dict())

"""The ClientApp for `flwr run` and for SuperNodes of a deployment."""

from __future__ import annotations

import functools
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import Tensor

from clients.training.trainer import Trainer
from fedpoison.errors import EngineError
from fedpoison.federation.client import (
    TrainRequest,
    answer_query,
    train_client,
    train_reply,
)
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import (
    CLIENTS,
    CONFIG,
    MEMORY,
    PARTITION,
    as_tensor,
    from_record,
    named_record,
    read_context,
)
from fedpoison.federation.plain_arrays import plain_content, plain_record
from fedpoison.scenario.scenario import Scenario
from strategies.kernels.columns import use_one_thread

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the client of this partition, which may be malicious."""
    use_one_thread()  # as on every engine: results must not depend on the machine's load
    scenario, _, data_dir = read_context(context)
    clients = int(str(message.content.config_records[CONFIG][CLIENTS]))  # as the server counted them
    federation, trainer = _load_cached(scenario, clients, data_dir)
    memory = _stored_memory(context)
    request = TrainRequest.read(message, lambda record: from_record(record, federation.layout))
    trained = train_client(federation, trainer, _client_id(context), request, memory)
    if memory:
        context.state[MEMORY] = plain_record(named_record(memory))
    return Message(plain_content(train_reply(federation.layout, trained, memory)), reply_to=message)


@app.query()
def query(message: Message, context: Context) -> Message:
    """Reply with the partition of this client. Return or replace its memory if the query asks for it."""
    reply, memory = answer_query(message.content, _client_id(context), _stored_memory(context))
    if memory:
        context.state[MEMORY] = plain_record(named_record(memory))
    return Message(plain_content(reply), reply_to=message)


@functools.cache
def _load_cached(scenario: Scenario, clients: int, data_dir: str | Path | None) -> tuple[Federation, Trainer]:
    """Return the federation with this number of clients, and a trainer. Each process creates them once."""
    federation = Federation.load(scenario.replace(clients=clients), data_dir=data_dir)
    return federation, Trainer(federation.model(), federation.scenario.training)


def _client_id(context: Context) -> int:
    client_id = context.node_config.get(PARTITION)
    if not isinstance(client_id, int):
        raise EngineError(
            f"got a SuperNode with {PARTITION} {client_id}, expected the number of its client, from 0; start "
            "it with flower-supernode --node-config 'partition-id=0 num-partitions=4'."
        )
    return client_id


def _stored_memory(context: Context) -> dict[str, Tensor]:
    record = context.state.array_records.get(MEMORY)
    return {} if record is None else {name: as_tensor(kept) for name, kept in record.items()}

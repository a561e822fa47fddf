"""Messages for Flower's transports: plain arrays, converted once, and replies without a client."""

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflatable_class_registry
from hand_messages import NODES, HandGrid

from clients.attacks.base import TRIGGER
from fedpoison.engines import client_app
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import (
    ARRAYS,
    CLIENTS,
    CONFIG,
    MEMORY,
    PARTITION,
    PREVIOUS,
    ROUND,
    TensorArray,
    as_tensor,
    named_record,
    to_record,
    to_run_config,
)
from fedpoison.federation.plain_arrays import PlainArraysGrid, plain_content


def transportable(content):
    """Return whether Flower's transport knows every object in the content of a message."""
    return all(
        type(part) is inflatable_class_registry[type(part).__qualname__]
        for part in get_all_nested_objects(content).values()
    )


@pytest.fixture
def tensors():
    return {"a": torch.arange(6.0).reshape(2, 3).t(), "steps": torch.tensor(4), "flags": torch.tensor([True])}


def test_the_values_arrive_and_the_original_does_not_change(tensors):
    config = ConfigRecord({"n": 1})
    content = RecordDict({"x": named_record(tensors), "config": config})
    plain = plain_content(content)
    assert [*plain] == ["x", "config"]
    assert plain["config"] is config
    assert transportable(plain)
    for name, tensor in tensors.items():
        back = as_tensor(plain["x"][name])
        assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(back, tensor)
        assert type(content["x"][name]) is TensorArray


def test_arrays_of_flower_are_shared():
    record = ArrayRecord({"a": Array(torch.ones(2))})
    assert plain_content(RecordDict({"x": record}))["x"]["a"] is record["a"]


def test_within_a_process_named_tensors_are_not_copied(tensors):
    record = named_record(tensors)
    assert all(as_tensor(record[name]) is tensor for name, tensor in tensors.items())


class Network(HandGrid):
    """A grid that keeps what it gets and loses the reply of the last client."""

    def send_and_receive(self, messages, *, timeout=None):
        self.sent = list(messages)
        for number, message in enumerate(self.sent):
            message.metadata.__dict__["_message_id"] = str(number + 1)
        replies = [Message(RecordDict(), reply_to=message) for message in self.sent]
        lost = Message(Error(code=1, reason="lost"), reply_to=self.sent[-1])
        lost.metadata.__dict__["_src_node_id"] = 1
        return [*replies[:-1], lost]


def test_a_grid_converts_shared_weights_once_and_names_the_client_of_a_lost_reply(tensors):
    network = Network(NODES[:3])
    shared = named_record(tensors)
    sent = [
        Message(
            RecordDict({ARRAYS: shared, "own": named_record({"a": torch.tensor(float(node))})}), node, "train"
        )
        for node in network.get_node_ids()
    ]
    replies = list(PlainArraysGrid(network).send_and_receive(sent))
    assert [reply.metadata.src_node_id for reply in replies] == [*NODES[:3]]
    assert [reply.has_error() and reply.error.reason for reply in replies] == [False, False, "lost"]
    assert len({id(message.content[ARRAYS]) for message in network.sent}) == 1
    assert all(transportable(message.content) for message in network.sent)
    own = [float(as_tensor(message.content["own"]["a"])) for message in network.sent]
    assert own == [float(node) for node in NODES[:3]]


def test_a_client_sends_and_remembers_plain_arrays(small, digits):
    """A SuperNode stores the memory of a client between two messages."""
    scenario = small.replace(
        clients=4, malicious=1.0, attack="adaptive-trigger", momentum=0.9, persistent_momentum=True
    )
    federation = Federation(scenario, digits)
    weights = to_record(federation.initial, federation.layout)
    config = ConfigRecord({ROUND: 1, CLIENTS: 4})
    message = Message(RecordDict({ARRAYS: weights, PREVIOUS: weights, CONFIG: config}), 2, "train")
    message.metadata.__dict__["_message_id"] = "1"
    context = Context(1, 2, {PARTITION: 3, "num-partitions": 4}, RecordDict(), to_run_config(scenario))
    reply = client_app.app(message, context)
    assert {ARRAYS, TRIGGER} <= {*reply.content.array_records}
    assert transportable(reply.content)
    assert {*context.state[MEMORY]} >= {TRIGGER}
    assert transportable(context.state)

    query = Message(RecordDict({CONFIG: ConfigRecord({MEMORY: True})}), 2, "query")
    query.metadata.__dict__["_message_id"] = "2"
    answer = client_app.app(query, context)
    assert {*answer.content[MEMORY]} == {*context.state[MEMORY]}
    assert transportable(answer.content)

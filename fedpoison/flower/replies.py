"""The replies of a round: which of them a rule can use, and the reason why it cannot use the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from flwr.app import ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from torch import Tensor

from fedpoison.errors import AggregationError
from fedpoison.federation.messages import PayloadError, sender
from fedpoison.flower.arrays import ModelArrays

SIGNED = 2**63
"""Flower's node ids are below 2^64, and integers in a tensor are below 2^63."""


def signed(node_id: int) -> int:
    """Return a node id as a signed integer of 64 bits, so that tensors can contain it.

    >>> signed(7), signed(2**64 - 1)
    (7, -1)
    """
    return node_id - 2 * SIGNED if node_id >= SIGNED else node_id


def unsigned(number: int) -> int:
    """Return the node id of a signed integer.

    >>> unsigned(7), unsigned(-1) == 2**64 - 1
    (7, True)
    """
    return number % (2 * SIGNED)


@dataclass(frozen=True, eq=False)
class Reply:
    """Usable reply of one client to a train message."""

    message: Message
    weights: Tensor
    """The client's weights, (d,)."""
    buffers: dict[str, Tensor]
    examples: float | None
    """Number of examples that the client reports. None: no number, or none that a weight can be."""

    @property
    def node_id(self) -> int:
        """Flower's node id of the client."""
        return self.message.metadata.src_node_id

    def with_model(self, arrays: ArrayRecord, examples_key: str) -> RecordDict:
        """Return the content of the reply with another model in one record, and with a number of examples."""
        content = self.message.content
        shown = RecordDict({**content.metric_records, **content.config_records})
        copied = ArrayRecord()  # a record per reply, since some strategies of Flower take arrays out of it
        for name, array in arrays.items():
            copied[name] = array
        shown[next(iter(content.array_records))] = copied
        if self.examples is None:
            if not shown.metric_records:
                shown["metrics"] = MetricRecord()
            for metrics in shown.metric_records.values():
                metrics[examples_key] = 1
        return shown


@dataclass(frozen=True, eq=False)
class Round:
    """Replies of one round, ordered by node id."""

    usable: list[Reply]
    dropped: dict[int, str]
    """Reason for each client without a usable reply, by node id."""

    def without(self, reasons: dict[int, str]) -> Round:
        """Return the round with the replies of these node ids dropped."""
        kept = [reply for reply in self.usable if reply.node_id not in reasons]
        return replace(self, usable=kept, dropped=self.dropped | reasons)


def read_round(
    replies: Iterable[Message], sent: Mapping[int, Metadata], model: ModelArrays, examples_key: str
) -> Round:
    """Read the replies of a round.

    Args:
        replies: The replies.
        sent: Metadata of the train messages of the round, by the node id of the sampled client.
        model: The global model that they got.
        examples_key: Key of the number of examples in the MetricRecord.
    """
    usable: dict[int, Reply] = {}
    dropped = dict.fromkeys(sent, "did not reply")
    for message in sorted(replies, key=lambda message: signed(message.metadata.src_node_id)):
        node_id = sender(message, sent)
        if node_id is None:
            if message.has_content():  # errors of unknown origin are those of the SuperLink
                dropped[message.metadata.src_node_id] = "was not sampled in this round"
            continue
        try:
            usable[node_id] = _read(message, model, examples_key)
            del dropped[node_id]
        except PayloadError as error:
            dropped[node_id] = str(error)
    found = Round([*usable.values()], dropped)
    return found.without(_other_metrics(found.usable))


def require_examples(server_round: int, found: Round, examples_key: str) -> Round:
    """Return the round without replies that report no number of examples.

    Raises:
        AggregationError: no usable reply reports a number of examples.
    """
    reasons = {
        reply.node_id: f"{examples_key}: got no positive number"
        for reply in found.usable
        if reply.examples is None
    }
    if reasons and len(reasons) == len(found.usable):
        raise AggregationError(
            f"round {server_round}: {examples_key} is missing, 0 or no number in all {len(reasons)} usable "
            f"replies, expected a positive number. Return MetricRecord({{{examples_key!r}: ...}}) from the "
            'client, or weight all clients equally with weights="uniform".'
        )
    return found.without(reasons)


def _read(message: Message, model: ModelArrays, examples_key: str) -> Reply:
    if message.has_error():
        lines = (message.error.reason or "").strip().splitlines()
        raise PayloadError(f"failed: {lines[-1] if lines else 'no reason given'}")
    weights, buffers = model.read_reply(message.content.array_records.values())
    return Reply(message, weights, buffers, _examples(message.content, examples_key))


def _examples(content: RecordDict, key: str) -> float | None:
    for record in content.metric_records.values():
        value = record.get(key)
        if isinstance(value, int | float) and math.isfinite(value) and value > 0:
            return float(value)
    return None


def _other_metrics(usable: list[Reply]) -> dict[int, str]:
    """Return a reason for each reply whose metrics have other keys than most replies have.

    Flower's aggregation of metrics raises for such a reply, so one client could stop the run.
    """
    signatures = {reply.node_id: _signature(reply.message.content) for reply in usable}
    if not signatures:
        return {}
    ((usual, _),) = Counter(signatures.values()).most_common(1)
    return {
        node_id: f"metrics: got {_named(found)}, expected {_named(usual)} as in most replies"
        for node_id, found in signatures.items()
        if found != usual
    }


Signature = tuple[tuple[str, str, int], ...]
"""Record, key and length of each metric. The length of a number is 0."""


def _signature(content: RecordDict) -> Signature:
    return tuple(
        sorted(
            (name, key, len(value) if isinstance(value, list) else 0)
            for name, record in content.metric_records.items()
            for key, value in record.items()
        )
    )


def _named(signature: Signature) -> str:
    return ", ".join(f"{key}[{size}]" if size else key for _, key, size in signature) or "none"

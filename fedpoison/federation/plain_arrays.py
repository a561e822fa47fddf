"""Messages for Flower's transports, which can carry Flower's own arrays but no subclass of them."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedpoison.federation.grids import WrappedGrid
from fedpoison.federation.messages import sender

Converted = dict[int, tuple[ArrayRecord, ArrayRecord]]
"""Records and their plain copies, by `id` of the record, which is unique while the record is kept."""


def plain_record(record: ArrayRecord) -> ArrayRecord:
    """Return a record whose arrays contain their bytes, as all transports of Flower expect.

    >>> import torch
    >>> from fedpoison.federation.messages import named_record
    >>> {type(array) is Array for array in plain_record(named_record({"a": torch.ones(2)})).values()}
    {True}
    """
    plain = ArrayRecord()
    for name, array in record.items():
        is_plain = type(array) is Array
        plain[name] = array if is_plain else Array(array.dtype, array.shape, array.stype, array.data)
    return plain


def plain_content(content: RecordDict, converted: Converted | None = None) -> RecordDict:
    """Return the content of a message with plain arrays. Other records are shared.

    Args:
        content: Content of the message. Does not change.
        converted: Records of earlier messages, which are not converted again. New records are added.
    """
    known = {} if converted is None else converted
    for record in content.array_records.values():
        if id(record) not in known:
            known[id(record)] = record, plain_record(record)
    return RecordDict(
        {
            name: known[id(record)][1] if isinstance(record, ArrayRecord) else record
            for name, record in content.items()
        }
    )


class PlainArraysGrid(WrappedGrid):
    """Grid of a Flower runtime, which sends plain arrays and returns only replies of clients."""

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send the messages and yield the replies of their receivers.

        If a SuperNode or the content of its reply is lost, Flower returns an error in the name of the
        SuperLink. The client fails with this error. Replies that are about no receiver are skipped.
        """
        sent = list(messages)
        converted: Converted = {}  # clients of a round share the global weights: one copy serves all of them
        for message in sent:
            message.content = plain_content(message.content, converted)
        by_receiver = {message.metadata.dst_node_id: message for message in sent}
        metadata = {node_id: message.metadata for node_id, message in by_receiver.items()}
        for reply in self.inner.send_and_receive(sent, timeout=timeout):
            node_id = sender(reply, metadata)
            if node_id == reply.metadata.src_node_id:
                yield reply
            elif node_id is not None:
                yield Message(reply.error, reply_to=by_receiver[node_id])

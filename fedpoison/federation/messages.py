"""Messages between server and clients: run-configs, and weights as named arrays in Flower's records."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Message, Metadata
from numpy.typing import NDArray
from torch import Tensor

from clients.training.parameters import Buffers, Layout, split
from fedpoison.own_code import with_paths
from fedpoison.scenario.initial import read_initial
from fedpoison.scenario.scenario import Scenario

ARRAYS = "arrays"
"""Key of the weights in a message, as Flower names it."""
PREVIOUS = "previous-arrays"
"""Key of the previous round's weights in a train message, for attacks that compare two rounds."""
BUFFERS = "buffers"
"""Key of the model's buffers in train messages and replies. A model without buffers has no such record."""
CONFIG = "config"
METRICS = "metrics"
ROUND = "server-round"
CLIENTS = "clients"
"""Key of the number of clients in a run-config and in a train message."""
EXAMPLES = "num-examples"
LOSS = "train_loss"
PARTITION = "partition-id"
MEMORY = "memory"
"""Key of a client's memory in queries, and in a query's config: whether the reply includes the memory."""
CHANGED = "changed"
"""Key of a malicious client's report whether its attack changed its data."""
PROXIMAL = "proximal-mu"
"""Key of mu in Flower's FedProx."""
OUT = "out"
"""Key of the run store in a run-config."""
DATA_DIR = "data-dir"
"""Key of the data set folder in a run-config."""
CHECKPOINT_EVERY = "checkpoint-every"
"""Key of the number of rounds between two checkpoints in a run-config. 0: by time."""
FRESH = "fresh"
"""Key of a run-config: whether an interrupted run starts again with round 1."""


class PayloadError(ValueError):
    """The server cannot use a reply. The message gives the reason."""


class TensorArray(Array):
    """Array that contains a tensor, and serialises it only on access to `data`.

    Within one process, the tensor is not copied. Flower's strategies and transports can use it as an Array.
    """

    tensor: Tensor

    def __init__(self, tensor: Tensor) -> None:
        self.__dict__.update(  # skips the slow attribute setter of the base class
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tuple(tensor.shape),
            stype="numpy.ndarray",
            tensor=tensor,
        )

    @property
    def data(self) -> bytes:  # type: ignore[override]  # an attribute in the base class
        buffer = io.BytesIO()
        np.save(buffer, self.tensor.cpu().numpy(), allow_pickle=False)
        return buffer.getvalue()

    def numpy(self) -> NDArray[np.float32]:
        """Return a copy of the tensor as a NumPy array."""
        array: NDArray[np.float32] = self.tensor.cpu().numpy().copy()
        return array


def to_record(weights: Tensor, layout: Layout) -> ArrayRecord:
    """Return `weights` (d,) as named arrays that share memory with it."""
    record = ArrayRecord()
    for (name, _), part in zip(layout, split(weights, layout), strict=True):
        record[name] = TensorArray(part)
    return record


def from_record(record: ArrayRecord, layout: Layout) -> Tensor:
    """Return the arrays of `record` as one float32 vector (d,). Do not write to it: it may share memory.

    Raises:
        PayloadError: names, shapes or dtypes differ from the model's, or a value is not finite.
    """
    if list(record) != [name for name, _ in layout]:
        raise PayloadError(f"got arrays {list(record)}, expected {[name for name, _ in layout]}")
    parts = []
    for name, shape in layout:
        tensor = as_tensor(record[name])
        if tensor.shape != shape or not tensor.is_floating_point():
            raise PayloadError(
                f"{name}: got {tensor.dtype} of shape {tuple(tensor.shape)}, expected float32 {tuple(shape)}"
            )
        parts.append(tensor.reshape(-1).float())
    weights = _joined(parts)
    if not bool(torch.isfinite(weights.sum())) and not bool(torch.isfinite(weights).all()):
        raise PayloadError("contains NaN or infinity")
    return weights


@dataclass(frozen=True, eq=False)
class Update:
    """Usable reply of one client."""

    client_id: int
    weights: Tensor
    """The client's weights after training, (d,)."""
    examples: float
    """Number of training samples that the client reports."""
    loss: float
    """Mean training loss. NaN if the reply has none."""
    buffers: Buffers = field(default_factory=dict)
    """The client's buffers after training, by name. Do not write to them."""


def client_weights(updates: Sequence[Update], scenario: Scenario) -> Tensor:
    """Return the weight of each client for the strategy, (n,), float64, as the scenario's `weights` says."""
    uniform = scenario.weights == "uniform"
    return torch.tensor([1.0 if uniform else update.examples for update in updates], dtype=torch.float64)


def named_record(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Return tensors by name as named arrays that share memory with them."""
    record = ArrayRecord()  # its constructor would serialise the tensors
    for name, kept in tensors.items():
        record[name] = TensorArray(kept)
    return record


def sender(reply: Message, sent: Mapping[int, Metadata]) -> int | None:
    """Return the node id of the client that a reply is about, or None if no message went to this client.

    If a SuperNode is lost, or the content of its reply, the SuperLink sends an error in its own name. The
    message that the error answers names the client.

    Args:
        reply: The reply.
        sent: Metadata of the messages that were sent, by the node id of their receiver.
    """
    if reply.metadata.src_node_id in sent:
        return reply.metadata.src_node_id
    answered = reply.metadata.reply_to_message_id
    if not reply.has_error() or not answered:
        return None
    return next((node_id for node_id, asked in sent.items() if asked.message_id == answered), None)


def read_reply(reply: Message, client_id: int, layout: Layout, buffers: Buffers | None = None) -> Update:
    """Read a client's reply to a train message.

    Args:
        reply: The reply.
        client_id: The client.
        layout: Layout of the model.
        buffers: Buffers with the expected names, shapes and types. Default: the reply has no buffers.

    Raises:
        PayloadError: the client failed, or its reply is not usable.
    """
    if reply.has_error():
        raise PayloadError(f"failed: {_last_line(reply.error.reason)}")
    records, metrics = reply.content.array_records, reply.content.metric_records
    expected = {ARRAYS, BUFFERS} if buffers else {ARRAYS}
    if set(records) != expected or set(metrics) != {METRICS}:
        named = " and ".join(sorted({*expected, METRICS}))
        raise PayloadError(f"got records {sorted(reply.content)}, expected {named}")
    examples = metrics[METRICS].get(EXAMPLES)
    if not isinstance(examples, int | float) or not math.isfinite(examples) or examples <= 0:
        raise PayloadError(f"{EXAMPLES}: got {examples}, expected a positive number")
    loss = metrics[METRICS].get(LOSS, math.nan)
    return Update(
        client_id=client_id,
        weights=from_record(records[ARRAYS], layout),
        examples=examples,
        loss=float(loss) if isinstance(loss, int | float) else math.nan,
        buffers=_read_buffers(records[BUFFERS], buffers) if buffers else {},
    )


def _read_buffers(record: ArrayRecord, expected: Buffers) -> dict[str, Tensor]:
    if {*record} != {*expected}:
        raise PayloadError(f"got buffers {list(record)}, expected {list(expected)}")
    found = {name: as_tensor(record[name]) for name in expected}
    for name, like in expected.items():
        value = found[name]
        if (value.shape, value.dtype) != (like.shape, like.dtype):
            raise PayloadError(
                f"buffer {name}: got {value.dtype} of shape {tuple(value.shape)}, expected {like.dtype} of "
                f"shape {tuple(like.shape)}"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise PayloadError(f"buffer {name} contains NaN or infinity")
    return found


def _joined(parts: list[Tensor]) -> Tensor:
    """Return the parts as one vector, without a copy if they are adjacent in memory."""
    end = parts[0].data_ptr()
    storage = parts[0].untyped_storage().data_ptr()
    for part in parts:
        if part.data_ptr() != end or part.untyped_storage().data_ptr() != storage:
            return torch.cat(parts)
        end += part.nbytes
    return parts[0].as_strided((sum(len(part) for part in parts),), (1,))


def as_tensor(array: Array) -> Tensor:
    """Return the tensor in an array.

    Raises:
        PayloadError: the array cannot be decoded.
    """
    if isinstance(array, TensorArray):
        return array.tensor
    try:
        return torch.from_numpy(array.numpy())
    except (ValueError, TypeError, OSError, EOFError, MemoryError) as error:
        raise PayloadError(f"cannot be decoded: {_last_line(str(error))}") from None


def _last_line(text: str | None) -> str:
    lines = (text or "no reason given").strip().splitlines()
    return lines[-1] if lines else "no reason given"


def to_run_config(
    scenario: Scenario, *, out: str = "", data_dir: str = "", checkpoint_every: int = 0
) -> dict[str, int | float | str | bool]:
    """Return the scenario as a Flower run-config. Unset fields are empty texts, and lists are texts.

    Raises:
        ScenarioError: the code of a user has changed, or is not available.
    """
    values: dict[str, Any] = scenario.model_dump(mode="json")
    values["malicious_nodes"] = ",".join(str(client_id) for client_id in scenario.malicious_nodes)
    values["groups"] = "; ".join(group.to_spec() for group in scenario.groups)
    values = {name: with_paths(value) if isinstance(value, str) else value for name, value in values.items()}
    if scenario.initial is not None:
        values["initial"] = read_initial(scenario.initial).value.source
    values |= {OUT: out, DATA_DIR: data_dir, CHECKPOINT_EVERY: checkpoint_every, FRESH: False}
    return {name: "" if value is None else value for name, value in values.items()}


def from_run_config(config: Mapping[str, Any]) -> tuple[Scenario, Path | None, Path | None]:
    """Return the scenario, the run store and the data set folder of a run-config.

    Raises:
        ScenarioError: a field is unknown, or a value is invalid.
    """
    options = (CHECKPOINT_EVERY, FRESH)
    fields = {name: value for name, value in config.items() if value != "" and name not in options}
    out, data_dir = (Path(fields.pop(key)).expanduser() if key in fields else None for key in (OUT, DATA_DIR))
    return Scenario.parse(fields), out, data_dir


def read_context(context: Context) -> tuple[Scenario, Path | None, Path | None]:
    """Return the scenario, the run store and the data set folder of a Flower context."""
    return _read_items(tuple(sorted(context.run_config.items())))


@lru_cache(maxsize=8)
def _read_items(items: tuple[tuple[str, Any], ...]) -> tuple[Scenario, Path | None, Path | None]:
    """Parse each run-config once, since Flower passes it with each message."""
    return from_run_config(dict(items))

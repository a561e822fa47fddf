"""What travels between server and nodes: named arrays in Flower's records, and how they are checked."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message
from numpy.typing import NDArray
from torch import Tensor

from clients.training.parameters import Layout, split

ARRAYS = "arrays"
"""Where a message carries weights, as is Flower's convention."""
PREVIOUS = "previous-arrays"
"""Where a train message carries the weights of the round before, for attacks that look back."""
CONFIG = "config"
METRICS = "metrics"
ROUND = "server-round"
EXAMPLES = "num-examples"
LOSS = "train_loss"
PARTITION = "partition-id"
PROXIMAL = "proximal-mu"
"""Where Flower's FedProx puts its mu."""


class PayloadError(ValueError):
    """A reply cannot be aggregated; the message says why."""


class TensorArray(Array):
    """An Array that keeps its tensor, and serialises only when somebody asks for the bytes.

    In one process nothing is copied; Flower's own strategies and transports see a usual Array.
    """

    tensor: Tensor

    def __init__(self, tensor: Tensor) -> None:
        self.__dict__.update(  # the base class does a lot whenever an attribute is set
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tuple(tensor.shape),
            stype="numpy.ndarray",
            tensor=tensor,
        )

    @property
    def data(self) -> bytes:  # type: ignore[override]  # the base class keeps the bytes themselves
        buffer = io.BytesIO()
        np.save(buffer, self.tensor.cpu().numpy(), allow_pickle=False)
        return buffer.getvalue()

    def numpy(self) -> NDArray[np.float32]:
        """Return a copy of the tensor as an array."""
        array: NDArray[np.float32] = self.tensor.cpu().numpy().copy()
        return array


def to_record(weights: Tensor, layout: Layout) -> ArrayRecord:
    """Return `weights` (d,) as named arrays that share its memory."""
    record = ArrayRecord()
    for (name, _), part in zip(layout, split(weights, layout), strict=True):
        record[name] = TensorArray(part)
    return record


def from_record(record: ArrayRecord, layout: Layout) -> Tensor:
    """Return the arrays of `record` as one vector (d,), float32, to be read only: it may share their memory.

    Raises:
        PayloadError: names, shapes or dtypes are not the model's, or a value is not finite.
    """
    if list(record) != [name for name, _ in layout]:
        raise PayloadError(f"got arrays {list(record)}, wanted {[name for name, _ in layout]}")
    parts = []
    for name, shape in layout:
        tensor = as_tensor(record[name])
        if tensor.shape != shape or not tensor.is_floating_point():
            raise PayloadError(
                f"{name}: got {tensor.dtype} of shape {tuple(tensor.shape)}, wanted float32 {tuple(shape)}"
            )
        parts.append(tensor.reshape(-1).float())
    weights = _joined(parts)
    if not bool(torch.isfinite(weights.sum())) and not bool(torch.isfinite(weights).all()):
        raise PayloadError("holds NaN or infinity")
    return weights


@dataclass(frozen=True, eq=False)
class Update:
    """A usable reply of one node."""

    client_id: int
    weights: Tensor
    """(d,), where the node's training ended."""
    examples: float
    loss: float


def read_reply(reply: Message, client_id: int, layout: Layout) -> Update:
    """Return what a node's reply to a train message holds.

    Raises:
        PayloadError: the node failed, or its reply cannot be aggregated.
    """
    if reply.has_error():
        raise PayloadError(f"failed: {_first_line(reply.error.reason)}")
    records, metrics = reply.content.array_records, reply.content.metric_records
    if set(records) != {ARRAYS} or set(metrics) != {METRICS}:
        raise PayloadError(f"got records {sorted(reply.content)}, wanted {ARRAYS} and {METRICS}")
    examples = metrics[METRICS].get(EXAMPLES)
    if not isinstance(examples, int | float) or not math.isfinite(examples) or examples <= 0:
        raise PayloadError(f"{EXAMPLES}: got {examples}, wanted a positive number")
    loss = metrics[METRICS].get(LOSS, math.nan)
    return Update(
        client_id=client_id,
        weights=from_record(records[ARRAYS], layout),
        examples=examples,
        loss=float(loss) if isinstance(loss, int | float) else math.nan,
    )


def _joined(parts: list[Tensor]) -> Tensor:
    """Return the parts as one vector; without a copy where they follow one another in memory already."""
    end = parts[0].data_ptr()
    storage = parts[0].untyped_storage().data_ptr()
    for part in parts:
        if part.data_ptr() != end or part.untyped_storage().data_ptr() != storage:
            return torch.cat(parts)
        end += part.nbytes
    return parts[0].as_strided((sum(len(part) for part in parts),), (1,))


def as_tensor(array: Array) -> Tensor:
    """Return what an array holds.

    Raises:
        PayloadError: it cannot be decoded.
    """
    if isinstance(array, TensorArray):
        return array.tensor
    try:
        return torch.from_numpy(array.numpy())
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise PayloadError(f"cannot be decoded: {_first_line(str(error))}") from None


def _first_line(text: str | None) -> str:
    lines = (text or "no reason given").strip().splitlines()
    return lines[-1] if lines else "no reason given"

"""The arrays of a model in any ArrayRecord: weights as one vector for rules and attacks, and buffers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

import torch
from flwr.app import Array, ArrayRecord, RecordDict
from torch import Tensor

from clients.training.parameters import Layout, flatten, split
from fedpoison.errors import ScenarioError
from fedpoison.federation.messages import PayloadError, as_tensor

BUFFERS = ("*running_mean", "*running_var", "*num_batches_tracked")
"""Patterns for names of buffers: the statistics of batch normalization in torch."""


def read_arrays(records: Iterable[ArrayRecord]) -> dict[str, Tensor]:
    """Return the arrays of all records by name. They share no memory with the records.

    Raises:
        PayloadError: an array cannot be decoded, or two records have an array of the same name.
    """
    found: dict[str, Tensor] = {}
    for record in records:
        for name, array in record.items():
            if name in found:
                raise PayloadError(f"got the array {name} twice, expected it in one record")
            found[name] = as_tensor(array)
    return found


@dataclass(frozen=True, eq=False)
class ModelArrays:
    """A global model: its weights as one vector (d,), and its buffers by name.

    Weights are the floating-point arrays whose names match no pattern of buffers. All other arrays are
    buffers. The vector is float64 if a weight is, otherwise float32.
    """

    arrays: Mapping[str, Tensor]
    """All arrays by name, in the order of the model."""
    layout: Layout
    """Names and shapes of the weights, in the order of the vector."""
    vector: Tensor
    """The weights, (d,)."""

    @classmethod
    def read(cls, records: Iterable[ArrayRecord], buffers: Collection[str] = BUFFERS) -> Self:
        """Read a global model.

        Args:
            records: The arrays of the model, in any number of records.
            buffers: Names of buffers, or patterns such as `*running_mean`.

        Raises:
            ScenarioError: the model has no weights, or an array of complex numbers.
            PayloadError: as `read_arrays`.
        """
        arrays = read_arrays(records)
        for name, array in arrays.items():
            if array.is_complex():
                raise ScenarioError(
                    f"model: the array {name} has the type {array.dtype}, expected real numbers; send the "
                    "real and the imaginary part as two arrays."
                )
        weights = {
            name: array
            for name, array in arrays.items()
            if array.is_floating_point() and not any(fnmatchcase(name, pattern) for pattern in buffers)
        }
        if not weights:
            raise ScenarioError(
                f"model: got the arrays {[*arrays][:10]} without weights, expected a floating-point array "
                f"whose name matches none of {[*buffers]}; change `buffers`."
            )
        double = any(array.dtype == torch.float64 for array in weights.values())
        return cls(
            arrays=arrays,
            layout=tuple((name, array.shape) for name, array in weights.items()),
            vector=flatten(weights.values()).to(torch.float64 if double else torch.float32),
        )

    @property
    def buffers(self) -> dict[str, Tensor]:
        """The buffers by name."""
        weights = {name for name, _ in self.layout}
        return {name: array for name, array in self.arrays.items() if name not in weights}

    def read_reply(self, records: Iterable[ArrayRecord]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weights (d,) and the buffers of a client's reply.

        Raises:
            PayloadError: names, shapes or kinds of numbers differ from the model's, or a value is not finite.
        """
        given = read_arrays(records)
        if given.keys() != self.arrays.keys():
            missing, extra = (
                sorted(a.keys() - b.keys())[:5] for a, b in ((self.arrays, given), (given, self.arrays))
            )
            raise PayloadError(f"arrays: missing {missing}, unexpected {extra}")
        weights = {name for name, _ in self.layout}
        for name, expected in self.arrays.items():
            array = given[name]
            # Flower's FedAvg returns counters as floating-point numbers, and torch converts them back.
            fits = array.is_floating_point() if name in weights else not array.is_complex()
            if array.shape != expected.shape or not fits:
                raise PayloadError(
                    f"{name}: got {array.dtype} of shape {tuple(array.shape)}, "
                    f"expected {expected.dtype} of shape {tuple(expected.shape)}"
                )
            if not bool(array.isfinite().all()):
                raise PayloadError(f"{name}: contains NaN or infinity")
        vector = flatten(given[name].to(self.vector.dtype) for name, _ in self.layout)
        return vector, {name: given[name] for name in self.buffers}

    def to_record(self, weights: Tensor, buffers: Mapping[str, Tensor] | None = None) -> ArrayRecord:
        """Return the model with other weights (d,) and other buffers, in its own types of numbers.

        Args:
            weights: The weights, (d,).
            buffers: The buffers by name. Default: those of this model.
        """
        named = dict(self.arrays) | dict(buffers or {})
        named |= {
            name: part for (name, _), part in zip(self.layout, split(weights, self.layout), strict=True)
        }
        record = ArrayRecord()
        for name, array in named.items():
            record[name] = Array(array.to(self.arrays[name].dtype))
        return record

    def replace_weights(self, content: RecordDict, weights: Tensor) -> RecordDict:
        """Return the content of a reply with other weights (d,), in the same records."""
        crafted = self.to_record(weights)
        names = {name for name, _ in self.layout}
        changed = RecordDict(dict(content))
        for key, record in content.array_records.items():
            replaced = ArrayRecord()
            for name, array in record.items():
                replaced[name] = crafted[name] if name in names else array
            changed[key] = replaced
        return changed

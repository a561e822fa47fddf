"""Data sets given as Python objects: arrays, tensors, and torch data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from clients.training.samples import Samples
from fedpoison.data.arrays import (
    TEST_SHARE,
    Array,
    Labelled,
    plain_labels,
    samples_digest,
    to_samples,
)
from fedpoison.data.own import OwnData
from fedpoison.errors import DataError, ScenarioError, code_errors

EXPECTED = (
    "expected (x_train, y_train, x_test, y_test), (x, y), ((x_train, y_train), (x_test, y_test)), or a pair "
    "of torch data sets"
)
LARGEST_STORE = 8
"""Number of data sets that a process keeps after it got them from Python."""

_given: dict[str, tuple[Samples, Samples]] = {}
"""Latest data sets that this process got from Python, by the digest of their content."""


@dataclass(frozen=True, kw_only=True)
class Arrays(OwnData):
    """Use arrays, tensors or torch data sets from Python, as in `fp.simulate(dataset=(x, y))`.

    A process keeps the latest arrays. For commands, save arrays with numpy.savez, and use npz.
    """

    path: str = ""
    """Path of a copy for other processes. fedpoison sets it."""

    places = ("path",)

    @property
    def title(self) -> str:
        return "arrays"

    @classmethod
    def of(cls, value: object) -> Self:
        """Return the data set of a Python object, and keep its samples in this process.

        Raises:
            DataError: the arrays cannot be used.
            ScenarioError: the object is no data set.
        """
        train, test = to_sets(value)
        digest = samples_digest(train, test)
        _given.pop(digest, None)
        _given[digest] = train, test
        for oldest in list(_given)[:-LARGEST_STORE]:
            del _given[oldest]
        return cls(content=digest)

    def located(self) -> Self:
        return self

    def read(self) -> tuple[Samples, Samples]:
        if self.content in _given:
            return _given[self.content]
        if self.path and Path(self.path).is_file():
            return cast("tuple[Samples, Samples]", tuple(_load(Path(self.path))))
        raise DataError(
            f"arrays with the digest {self.content or 'none'}: this process does not have them; create the "
            "data set here first, as in fp.Scenario(dataset=(x_train, y_train, x_test, y_test)). For "
            "commands, save the arrays with numpy.savez, and use npz(path=...)."
        )

    def save(self, path: Path) -> Self:
        """Write a copy for other processes, and return the data set that reads it."""
        torch.save([vars(part) for part in self.read()], path)
        return type(self)(content=self.content, path=str(path.absolute()))


def _load(path: Path) -> list[Samples]:
    return [Samples(**fields) for fields in torch.load(path, weights_only=True)]


def to_sets(value: object, where: str = "dataset") -> tuple[Samples, Samples]:
    """Return the training and the test set that an object describes.

    Args:
        value: Arrays, tensors or torch data sets.
        where: Name of the data set in messages.

    Raises:
        DataError: the arrays cannot be used.
        ScenarioError: the object is no data set.
    """
    parts: list[Any] = list(value) if isinstance(value, tuple | list) else [value]
    if len(parts) == 2 and all(isinstance(part, Samples) for part in parts):
        return cast("tuple[Samples, Samples]", tuple(parts))
    if len(parts) == 2 and all(isinstance(part, tuple | list) and len(part) == 2 for part in parts):
        parts = [array for part in parts for array in part]
    if len(parts) == 2 and all(_is_torch_dataset(part) for part in parts):
        train, test = (_stacked(part, where) for part in parts)
        return to_samples(where, train, test, class_names=_names(parts[0], train))
    if len(parts) == 1 and _is_torch_dataset(parts[0]):
        whole = _stacked(parts[0], where)
        halves = whole.split(where, TEST_SHARE)
        return to_samples(where, *halves, class_names=_names(parts[0], whole))
    if len(parts) not in (2, 4) or not all(_is_array(part) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise ScenarioError(f"{where}: got ({kinds}), {EXPECTED}.")
    arrays = [_array(part, where) for part in parts]
    found = [Labelled(x, plain_labels(where, y)) for x, y in zip(arrays[::2], arrays[1::2], strict=True)]
    train, test = found if len(found) == 2 else found[0].split(where, TEST_SHARE)
    return to_samples(where, train, test)


def _is_array(part: object) -> bool:
    return isinstance(part, Tensor | np.ndarray | list | tuple) or hasattr(part, "__array__")


def _is_torch_dataset(part: object) -> bool:
    return isinstance(part, torch.utils.data.Dataset)


def _array(part: object, where: str) -> Array:
    try:
        if not isinstance(part, Tensor):
            return np.asarray(part)
        kept = part.detach().cpu()
        return (kept.float() if kept.dtype == torch.bfloat16 else kept).numpy()
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, and tensors that NumPy lacks
        reason = str(error).strip().splitlines()[0].removesuffix(".")
        raise DataError(
            f"{where}: got a {type(part).__name__} that is no array of numbers ({reason}); give samples of "
            "one shape, as NumPy arrays or dense tensors."
        ) from None


def _stacked(dataset: Any, where: str) -> Labelled:
    """Return all samples of a torch data set. Its transforms run once."""
    if not hasattr(dataset, "__len__") or isinstance(dataset, torch.utils.data.IterableDataset):
        raise DataError(
            f"{where}: got the torch data set {type(dataset).__name__} without a length, expected __len__ "
            "and __getitem__; add them, or collect its samples in arrays."
        )
    with code_errors(f"{where}, data set {type(dataset).__name__}", DataError):
        pairs = [dataset[position] for position in range(len(dataset))]
    bad = next((pair for pair in pairs if not isinstance(pair, tuple | list) or len(pair) != 2), None)
    if bad is not None or not pairs:
        raise DataError(
            f"{where}: got a torch data set of {len(pairs)} samples with items of type "
            f"{type(bad).__name__}, expected pairs (sample, label)."
        )
    samples, labels = [_array(x, where) for x, _ in pairs], [_array(y, where) for _, y in pairs]
    shapes = {sample.shape for sample in samples}
    if len(shapes) > 1:
        raise DataError(
            f"{where}: got samples of the shapes {sorted(shapes)[:3]}, expected one shape; add a transform "
            "that resizes or pads them."
        )
    return Labelled(np.stack(samples), plain_labels(where, np.array([label[()] for label in labels])))


def _names(dataset: object, found: Labelled) -> Sequence[str]:
    """Return the names of the classes, as data sets of torchvision have them."""
    names = getattr(dataset, "classes", ())
    numbered = found.y.dtype.kind in "iu" and len(names) > int(found.y.max(initial=0))
    return list(map(str, names)) if numbered else ()

"""A user's data set as samples for attacks, and the data set with what an attack changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from clients.attacks.base import Attack
from clients.training.samples import Samples
from fedpoison.errors import ScenarioError
from fedpoison.flower.data_formats import InputFormat, ItemFormat, as_array, like

SLACK = 1e-3
"""Largest distance of a pixel from the interval 0 to 1 that is rounding."""


@dataclass(frozen=True, eq=False)
class Change:
    """What an attack changed. Added samples follow the original ones."""

    positions: list[int]
    """Positions of the changed samples and of the added ones."""
    inputs: Tensor
    """New inputs at these positions, (p, *shape)."""
    labels: Tensor
    """New labels at these positions, (p,)."""

    @classmethod
    def between(cls, before: Samples, after: Samples, inputs: Tensor, attack: Attack) -> Change:
        """Compare the samples before and after the attack.

        Raises:
            ScenarioError: the attack changed pixels, and the inputs are no images with pixels from 0 to 1.
        """
        shape = InputFormat.of(inputs)
        positions = after.poison_mask().nonzero().flatten()
        old = positions[positions < len(before)]
        added = positions[positions >= len(before)]
        edited = (after.images[old] != before.images[old]).flatten(1).any(dim=1)
        if bool(edited.any()) or len(added):
            _require_pixels(before, shape, attack)
        values = torch.cat([inputs[old], shape.from_images(after.images[added])])
        values[: len(old)][edited] = shape.from_images(after.images[old][edited])
        return cls(positions.tolist(), values, after.labels[positions])


class Source(ABC):
    """Inputs and labels of the user's data, and the data with a change."""

    def __init__(self, data: Any, inputs: Tensor, labels: Tensor, classes: int | None) -> None:
        self.data, self.inputs, self.labels, self.classes = data, inputs, labels, classes

    @staticmethod
    def read(data: Any, keys: tuple[str, str] | None) -> Source:
        """Read all samples of the data.

        Raises:
            ScenarioError: the data has another form, or no samples, or inputs of several shapes.
        """
        if isinstance(data, tuple | list) and len(data) == 2 and all(map(_is_array, data)):
            inputs, labels = map(as_array, data)
            return PairSource(data, inputs, labels, None)
        if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
            raise ScenarioError(
                f"data: got {type(data).__name__}, expected a pair of arrays, or a data set with a length."
            )
        items = [data[position] for position in range(len(data))]
        if not items:
            raise ScenarioError("data: got no samples, expected at least one.")
        form = ItemFormat.of(items[0], keys)
        rows = [as_array(item[form.input_key]) for item in items]
        if len({row.shape for row in rows}) > 1:
            shapes = sorted({tuple(row.shape) for row in rows})[:3]
            raise ScenarioError(
                f"data: got inputs of the shapes {shapes}, expected one shape; resize them before the attack."
            )
        labels = torch.stack([as_array(item[form.label_key]) for item in items])
        return ItemSource(data, torch.stack(rows), labels, _known_classes(data, form), form)

    def samples(
        self, classes: int | None, mean: Collection[float] | None, std: Collection[float] | None
    ) -> Samples:
        """Return the samples for an attack.

        Raises:
            ScenarioError: there is not one label per input, or a label is no class.
        """
        images, labels = InputFormat.of(self.inputs).to_images(self.inputs), self.labels.flatten()
        whole = not labels.is_floating_point() and not labels.is_complex() and labels.dtype != torch.bool
        if len(labels) != len(images) or not whole or not len(labels) or bool((labels < 0).any()):
            raise ScenarioError(
                f"labels: got {self.labels.dtype} of shape {tuple(self.labels.shape)} for {len(images)} "
                "inputs, expected one integer from 0 per input."
            )
        channels, largest = images.shape[1], int(labels.max())
        known = classes or self.classes or largest + 1
        if largest >= known:
            raise ScenarioError(f"classes: got {known}, and the label {largest}; expected more classes.")
        return Samples(
            images, labels.long(), known, _per_channel(mean, 0.0, channels), _per_channel(std, 1.0, channels)
        )

    @abstractmethod
    def poisoned(self, change: Change) -> object:
        """Return the data with a change, in the form of the data."""


class PairSource(Source):
    """Inputs and labels as two arrays."""

    def poisoned(self, change: Change) -> object:
        added = max([len(self.inputs), *(position + 1 for position in change.positions)]) - len(self.inputs)
        inputs = torch.cat([self.inputs, self.inputs[:1].expand(added, *self.inputs.shape[1:])])
        flat = self.labels.flatten()
        labels = torch.cat([flat, flat[:1].expand(added)])
        inputs[change.positions] = change.inputs
        labels[change.positions] = change.labels.to(labels.dtype)
        labels = labels.reshape(-1, *self.labels.shape[1:])
        first, second = self.data
        return type(self.data)([like(inputs, first), like(labels, second)])


class ItemSource(Source):
    """A data set with a length, whose items are pairs or mappings."""

    def __init__(
        self, data: Any, inputs: Tensor, labels: Tensor, classes: int | None, form: ItemFormat
    ) -> None:
        super().__init__(data, inputs, labels, classes)
        self._form = form

    def poisoned(self, change: Change) -> object:
        form, changed = self._form, {}
        for position, value, label in zip(change.positions, change.inputs, change.labels, strict=True):
            item = self.data[position if position < len(self.data) else 0]
            new = (
                like(value, item[form.input_key]),
                like(label.reshape_as(as_array(item[form.label_key])), item[form.label_key]),
            )
            changed[position] = form.changed(item, *new)
        return PoisonedDataset(self.data, changed)


class PoisonedDataset(Dataset[Any]):
    """A data set in which some items are replaced, and to which some are added.

    Args:
        data: The data set.
        changed: New items by position. Positions from the length of `data` on are added items.
    """

    def __init__(self, data: Any, changed: Mapping[int, Any]) -> None:
        self.data = data
        self.poisoned = dict(changed)
        """Poisoned items by position."""
        self._length = max([len(data), *(position + 1 for position in changed)])

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Any:
        place = position + self._length if position < 0 else position
        if not 0 <= place < self._length:
            raise IndexError(f"position: got {position}, expected less than {self._length}.")
        return self.poisoned[place] if place in self.poisoned else self.data[place]


def _require_pixels(samples: Samples, shape: InputFormat, attack: Attack) -> None:
    """Raise ScenarioError unless the inputs are images with pixels from 0 to 1."""
    if not shape.is_image:
        raise ScenarioError(
            f"attack {attack!r}: changes pixels, got inputs of shape {shape.shape}, expected images with a "
            "height and a width; choose an attack on labels, such as label-flip."
        )
    pixels = samples.pixels()
    low, high = float(pixels.min()), float(pixels.max())
    if low < -SLACK or high > 1 + SLACK:
        raise ScenarioError(
            f"attack {attack!r}: changes pixels, got pixels from {low:.3g} to {high:.3g}, expected 0 to 1; "
            "give the mean and std with which you normalise, or images of bytes."
        )


def _per_channel(values: Collection[float] | None, default: float, channels: int) -> tuple[float, ...]:
    given = (default,) * channels if values is None else tuple(map(float, values))
    if len(given) != channels:
        raise ScenarioError(
            f"mean and std: got {len(given)} numbers, expected one for each of {channels} channels."
        )
    return given


def _known_classes(data: object, form: ItemFormat) -> int | None:
    """Return the number of classes that a data set of torchvision or Hugging Face knows."""
    while isinstance(data, Subset):
        data = data.dataset
    names = getattr(data, "classes", None)
    if names is not None:
        return len(names)
    feature = (getattr(data, "features", None) or {}).get(form.label_key)
    return getattr(feature, "num_classes", None)


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor | np.ndarray)

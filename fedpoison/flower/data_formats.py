"""Inputs of a user's data set as images for attacks, and back in their own format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from PIL.Image import Image, fromarray
from torch import Tensor

from fedpoison.errors import ScenarioError

CHANNELS = (1, 3, 4)
"""Numbers of channels by which the axis of the channels is recognised."""
INPUT_KEYS = ("image", "img", "x", "input", "features", "pixel_values")
LABEL_KEYS = ("label", "labels", "y", "target", "fine_label")


def as_array(value: Any) -> Tensor:
    """Return an input or a label of any supported kind as a tensor.

    Raises:
        ScenarioError: the kind is not supported.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Image):
        return torch.from_numpy(np.array(value))
    try:
        return torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise ScenarioError(
            f"data: got {type(value).__name__}, expected a tensor, a NumPy array or a PIL image ({error})."
        ) from None


def like(array: Tensor, original: Any) -> Any:
    """Return `array` as what `original` is: a tensor, a NumPy array, an image or a number."""
    if isinstance(original, Tensor):
        return array.to(device=original.device, dtype=original.dtype)
    if isinstance(original, Image):
        return fromarray(array.numpy(), original.mode)
    if isinstance(original, np.ndarray | np.generic):
        values = array.numpy().astype(original.dtype)
        return values if isinstance(original, np.ndarray) else values[()]
    return array.tolist()


@dataclass(frozen=True)
class InputFormat:
    """How inputs of one shape and type become images (m, c, h, w), and back."""

    shape: tuple[int, ...]
    """Shape of one input."""
    dtype: torch.dtype

    @classmethod
    def of(cls, inputs: Tensor) -> Self:
        """Return the format of inputs (m, *shape)."""
        return cls(tuple(inputs.shape[1:]), inputs.dtype)

    @property
    def is_image(self) -> bool:
        """Whether an input has a height and a width."""
        return len(self.shape) in (2, 3)

    @property
    def channels_last(self) -> bool:
        """Whether the last axis contains the channels."""
        return len(self.shape) == 3 and self.shape[2] in CHANNELS and self.shape[0] not in CHANNELS

    def to_images(self, inputs: Tensor) -> Tensor:
        """Return inputs (m, *shape) as float32 images (m, c, h, w). Bytes become numbers from 0 to 1."""
        values = inputs.float() / 255 if self.dtype == torch.uint8 else inputs.float()
        if self.channels_last:
            return values.movedim(-1, 1).contiguous()
        if len(self.shape) == 3:
            return values
        height, width = self.shape if len(self.shape) == 2 else (1, math.prod(self.shape))
        return values.reshape(len(values), 1, height, width)

    def from_images(self, images: Tensor) -> Tensor:
        """Return images (m, c, h, w) as inputs (m, *shape) of the original type."""
        values = images.movedim(1, -1) if self.channels_last else images
        if self.dtype == torch.uint8:
            values = (values * 255).round().clamp(0, 255)
        return values.reshape(len(images), *self.shape).to(self.dtype)


@dataclass(frozen=True)
class ItemFormat:
    """Where an item of a data set has its input and its label."""

    input_key: int | str
    label_key: int | str

    @classmethod
    def of(cls, item: Any, keys: tuple[str, str] | None) -> Self:
        """Return the format of an item, a sequence (input, label, ...) or a mapping.

        Raises:
            ScenarioError: the item has another form, or no known keys.
        """
        if isinstance(item, Mapping):
            found = keys or (_first(INPUT_KEYS, item), _first(LABEL_KEYS, item))
            if None in found or not {*found} <= item.keys():
                raise ScenarioError(
                    f"data: got items with the keys {[*item]}, expected one of {', '.join(INPUT_KEYS)} and "
                    f"one of {', '.join(LABEL_KEYS)}; name them: keys=('my-input', 'my-label')."
                )
            return cls(*found)
        if isinstance(item, Sequence) and not isinstance(item, str) and len(item) >= 2:
            return cls(0, 1)
        raise ScenarioError(
            f"data: got an item of type {type(item).__name__}, expected (input, label) or a mapping."
        )

    def changed(self, item: Any, value: Any, label: Any) -> Any:
        """Return a copy of the item with another input and another label."""
        if isinstance(item, Mapping):
            return {**item, self.input_key: value, self.label_key: label}
        return type(item)([value, label, *item[2:]])


def _first(names: Sequence[str], item: Mapping[str, Any]) -> Any:
    return next((name for name in names if name in item), None)

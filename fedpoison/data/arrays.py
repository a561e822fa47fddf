"""Arrays as samples: check shapes, numbers and labels, split, and normalise by the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.training.samples import Samples
from fedpoison.errors import DataError
from fedpoison.rng import generator_for

Array = NDArray[Any]
TEST_SHARE = 0.2
"""Share of the samples for testing, if a data set has no test set."""
CHANNELS = (1, 3, 4)
"""Numbers of channels by which an image with the channels last is recognised."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Arrays as the user has them: m samples with labels, and the client of each if there is one."""

    x: Array
    """(m, h, w), (m, c, h, w) or (m, h, w, c) images, or (m, d) features or tokens."""
    y: Array
    """(m,) labels: whole numbers or texts."""
    clients: Array | None = None
    """(m,) names of clients."""

    def split(self, where: str, share: float) -> tuple[Labelled, Labelled]:
        """Return a training and a test part. Of each class, a share of the samples is drawn for testing."""
        check_labelled(where, self)
        _, classes = np.unique(self.y, return_inverse=True)
        generator = generator_for(0, "test set")
        test = torch.zeros(len(classes), dtype=torch.bool)
        for label in range(classes.max() + 1):
            positions = torch.from_numpy(np.flatnonzero(classes == label))
            order = torch.randperm(len(positions), generator=generator)
            test[positions[order[: round(share * len(positions))]]] = True
        if bool(test.all()) or not bool(test.any()):
            raise DataError(
                f"{where}: got {len(test)} samples, too few to draw the share {share} of each class for "
                "testing; add samples, or give a test set."
            )
        return self.at(~test.numpy()), self.at(test.numpy())

    def at(self, mask: NDArray[np.bool_]) -> Labelled:
        """Return the samples in the mask (m,)."""
        return Labelled(self.x[mask], self.y[mask], None if self.clients is None else self.clients[mask])


def to_samples(
    where: str, train: Labelled, test: Labelled, *, class_names: Sequence[str] = (), tokens: bool = False
) -> tuple[Samples, Samples]:
    """Return the training and the test set, normalised by the mean and the deviation of the training set.

    Args:
        where: Name of the data set in messages.
        train: Training set.
        test: Test set.
        class_names: Names of the classes, if labels are positions in them. Default: labels that are not 0 to
            k - 1 are mapped to positions, and become the names.
        tokens: Whether the arrays (m, d) are numbers of tokens, which are not normalised.

    Raises:
        DataError: shapes, numbers or labels cannot be used. The message names the array.
    """
    for part, name in ((train, "training set"), (test, "test set")):
        check_labelled(f"{where}, {name}", part)
    if train.x.shape[1:] != test.x.shape[1:]:
        raise DataError(
            f"{where}: got training samples of shape {train.x.shape[1:]} and test samples of shape "
            f"{test.x.shape[1:]}, expected the same shape."
        )
    labels, names, classes = _numbered(where, np.concatenate([train.y, test.y]), class_names)
    x_train, x_test, mean, std = _normalised(where, train.x, test.x, tokens=tokens)
    cut = len(train.y)
    clients = None
    if train.clients is not None:
        clients = torch.from_numpy(np.unique(train.clients.astype(str), return_inverse=True)[1])
    held = Samples(x_test, labels[cut:].clone(), classes, mean, std, class_names=names)
    return replace(held, images=x_train, labels=labels[:cut].clone(), clients=clients), held


def check_labelled(where: str, part: Labelled) -> None:
    """Raise a DataError if the arrays of a part are empty, do not fit together, or contain NaN."""
    x, y = part.x, part.y
    if x.dtype.kind not in "fiub":
        raise DataError(f"{where}: got samples of type {x.dtype}, expected numbers; convert them.")
    if x.ndim not in (2, 3, 4):
        raise DataError(
            f"{where}: got samples of shape {x.shape}, expected images (m, h, w), (m, c, h, w) or "
            "(m, h, w, c), or features (m, d); reshape them."
        )
    if y.ndim != 1:
        remedy = "use labels.ravel()" if y.size == len(x) else "for one-hot labels, use labels.argmax(axis=1)"
        raise DataError(
            f"{where}: got labels of shape {y.shape}, expected ({len(x)},), one class per sample; {remedy}."
        )
    if len(x) != len(y):
        raise DataError(f"{where}: got {len(x)} samples but {len(y)} labels, expected the same number.")
    if not x.size:
        raise DataError(f"{where}: got samples of shape {x.shape}, expected at least one number.")
    fractions = y[~np.isfinite(y) | (y != np.floor(y))] if y.dtype.kind == "f" else y[:0]
    if len(fractions):
        raise DataError(
            f"{where}: got the label {fractions[0]}, expected classes as whole numbers or texts; remove "
            "samples without a label, and divide a measured value into classes."
        )
    bad = 0 if x.dtype.kind != "f" else int((~np.isfinite(x)).reshape(len(x), -1).any(axis=1).sum())
    if bad:
        raise DataError(
            f"{where}: {bad} of {len(x)} samples contain NaN or infinity, expected finite numbers; "
            "remove these samples, or replace the values."
        )


def plain_labels(where: str, y: Array) -> Array:
    """Return labels of Python objects as numbers or texts.

    Raises:
        DataError: a label is missing.
    """
    if y.dtype.kind != "O" or y.ndim != 1:
        return y
    import pandas as pd  # noqa: PLC0415  # half a second to import

    if missing := int(pd.isna(y).sum()):
        raise DataError(
            f"{where}: {missing} of {len(y)} samples have no label, expected a class for each; remove "
            "these samples."
        )
    return np.array(y.tolist()) if all(isinstance(label, Real) for label in y) else y.astype(str)


def _numbered(where: str, y: Array, class_names: Sequence[str]) -> tuple[Tensor, tuple[str, ...], int]:
    """Return labels 0 to k - 1, the names of the classes (empty if they are these numbers), and k."""
    found = y.astype(str) if y.dtype.kind not in "fiub" else y
    if found.dtype.kind == "f":
        found = found.astype(np.int64)
    values, numbers = np.unique(found, return_inverse=True)
    if len(values) < 2:
        raise DataError(
            f"{where}: all {len(y)} samples have the label {values[0]}, expected at least two classes; "
            "add samples of another class."
        )
    names = tuple(map(str, class_names or values))
    if class_names:
        if values.dtype.kind not in "iu" or values[0] < 0 or values[-1] >= len(names):
            raise DataError(
                f"{where}: got labels from {values[0]} to {values[-1]}, expected 0 to {len(names) - 1}, "
                "the positions of the class names."
            )
        return torch.from_numpy(found.astype(np.int64)), names, len(names)
    counted = names == tuple(map(str, range(len(names))))
    return torch.from_numpy(numbers.astype(np.int64)), () if counted else names, len(names)


def _normalised(
    where: str, train: Array, test: Array, *, tokens: bool
) -> tuple[Tensor, Tensor, tuple[float, ...], tuple[float, ...]]:
    """Return both arrays as models use them, with the mean and the deviation of each channel or feature."""
    if tokens:
        if train.ndim != 2 or "f" in (train.dtype.kind, test.dtype.kind) or min(train.min(), test.min()) < 0:
            raise DataError(
                f"{where}: got tokens of type {train.dtype} and shape {train.shape}, expected whole numbers "
                "from 0 of shape (m, length)."
            )
        return (
            torch.from_numpy(train.astype(np.int64)),
            torch.from_numpy(test.astype(np.int64)),
            (0.0,),
            (1.0,),
        )
    if train.ndim > 2:
        train, test = _pixels(train, test)
    axes = (0, *range(2, train.ndim))
    mean, std = train.mean(axis=axes, dtype=np.float64), train.std(axis=axes, dtype=np.float64)
    std[std < 1e-12] = 1.0  # a channel or feature that is constant
    shape = (1, -1, *(1 for _ in train.shape[2:]))
    both = [
        torch.from_numpy(((part - mean.reshape(shape)) / std.reshape(shape)).astype(np.float32))
        for part in (train, test)
    ]
    return both[0], both[1], tuple(mean.tolist()), tuple(std.tolist())


def _pixels(train: Array, test: Array) -> tuple[Array, Array]:
    """Return images (m, c, h, w) with pixels from 0 to 1, by the range of the type or of the training set."""
    lowest, highest = float(train.min()), float(train.max())
    if train.dtype.kind in "iu" and lowest >= 0 and highest <= 255:
        lowest, highest = 0.0, 1.0 if highest <= 1 else 255.0
    elif lowest >= 0 and highest <= 1:
        lowest, highest = 0.0, 1.0
    width = max(highest - lowest, 1e-12)
    scaled = [
        (_channels_first(part).astype(np.float32) - np.float32(lowest)) / np.float32(width)
        for part in (train, test)
    ]
    return scaled[0], scaled[1]


def _channels_first(images: Array) -> Array:
    """Return images as (m, c, h, w). A last size of 1, 3 or 4 is the channels, unless the second is one."""
    if images.ndim == 3:
        return images[:, None]
    last = images.shape[3] in CHANNELS and images.shape[1] not in CHANNELS
    return images.transpose(0, 3, 1, 2) if last else images


def samples_digest(train: Samples, test: Samples) -> str:
    """Return a digest of all that a training and a test set contain."""
    owners = [] if train.clients is None else [train.clients]
    arrays = [array for part in (train, test) for array in (part.images, part.labels)]
    scale, names = np.array([train.mean, train.std]), np.array(train.class_names, dtype=str)
    return _digest(*arrays, *owners, scale, names)


def _digest(*parts: Array | Tensor) -> str:
    """Return a digest of the types, the shapes and the values of arrays."""
    digest = blake2b(digest_size=6)
    for part in parts:
        array = np.ascontiguousarray(part)
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()

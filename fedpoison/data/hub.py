"""Data sets of the Hugging Face hub, through its library `datasets`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from clients.bounds import Count, OpenShare
from clients.training.samples import Samples
from fedpoison.data.arrays import TEST_SHARE, Labelled, plain_labels, samples_digest, to_samples
from fedpoison.data.files import image_array
from fedpoison.data.own import OwnData
from fedpoison.data.tables import table_samples
from fedpoison.errors import DataError, unknown

MISSING = "the package datasets is not installed; install it with: pip install 'fedpoison[hub]'"


@dataclass(frozen=True, kw_only=True)
class Hf(OwnData):
    """Load a data set of the Hugging Face hub, or a local folder that its library `datasets` can load.

    Needs the extra `fedpoison[hub]`. The library downloads the data once, and reads it from its own cache
    later.
    """

    name: str
    """Name of the data set, such as ylecun/mnist, or path of a local folder."""
    label: str = "label"
    """Column of the classes."""
    image: str = ""
    """Column of the images. Default: each other column is a feature, as in a csv file."""
    config: str = ""
    """Configuration of the data set. Default: its only one."""
    revision: str = ""
    """Version of the data set. Default: the newest."""
    train: str = "train"
    """Split for training."""
    test: str = "test"
    """Split for testing. If the data set has no such split, a share of the samples is drawn."""
    client: str = ""
    """Column with the client of each sample, for the partition natural. Default: none."""
    size: Count = 32
    """Height and width to which each image is resized. 0 keeps the size, which must be the same for all."""
    mode: Literal["rgb", "grey"] = "rgb"
    """Channels of an image: three colours, or one."""
    test_share: OpenShare = TEST_SHARE
    """Share of the samples of each class for testing, without a split for it."""

    places = ("name",)

    def located(self) -> Self:
        name = str(Path(self.name).absolute()) if Path(self.name).is_dir() else self.name
        return replace(self, name=name, content=samples_digest(*self.read()))

    def read(self) -> tuple[Samples, Samples]:
        return _read_once(replace(self, content=""))


@lru_cache(maxsize=2)
def _read_once(data: Hf) -> tuple[Samples, Samples]:
    splits = _splits(data)
    if data.train not in splits:
        raise DataError(f"{data.name}: {unknown('split', data.train, splits)}")
    train, test = splits[data.train], splits.get(data.test)
    for split, columns in ((train, (data.label, data.image, data.client)), (test, (data.label, data.image))):
        for column in filter(None, columns):
            if split is not None and column not in split.column_names:
                raise DataError(f"{data.name}: {unknown('column', column, split.column_names)}")
    names = getattr(train.features[data.label], "names", None) or ()
    if not data.image:
        return table_samples(
            data.name,
            {"": train.to_pandas()},
            None if test is None else test.to_pandas(),
            label=data.label,
            client=data.client,
            test_share=data.test_share,
            class_names=names,
        )
    part = _images(data, train)
    parts = part.split(data.name, data.test_share) if test is None else (part, _images(data, test))
    return to_samples(data.name, *parts, class_names=names)


def _splits(data: Hf) -> Mapping[str, Any]:
    try:
        import datasets  # noqa: PLC0415  # an optional package
    except ImportError:
        raise DataError(f"{data.name}: {MISSING}.") from None
    try:
        found: Mapping[str, Any] = datasets.load_dataset(
            data.name, data.config or None, revision=data.revision or None
        )
    except (OSError, ValueError, RuntimeError) as error:  # the library derives its errors from these
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(
            f"{data.name}: cannot be loaded from the Hugging Face hub ({reason}); check the name, the "
            "configuration and the network."
        ) from None
    return found


def _images(data: Hf, split: Any) -> Labelled:
    images = []
    for row, image in enumerate(split[data.image]):
        if not hasattr(image, "convert"):
            raise DataError(
                f"{data.name}, column {data.image}: got {type(image).__name__} in row {row}, expected an "
                "image; name the column of images."
            )
        images.append(image_array(image, data.size, data.mode))
    if len({image.shape for image in images}) > 1:
        raise DataError(f"{data.name}: got images of several sizes, expected one with size=0; set size=32.")
    known = data.client in split.column_names
    owners = np.array(split[data.client]).astype(str) if known else None
    return Labelled(np.stack(images), plain_labels(data.name, np.array(split[data.label])), owners)

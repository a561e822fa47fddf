"""Images of data sets that an attack names, such as `npz(path=ardis.npz)`."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from clients.training import Samples

Reader = Callable[[str], tuple[Samples, Samples]]
"""`reader(dataset)` returns the training and the test set of the data set with this spec."""

READERS: list[Reader] = []
"""The reader of data sets. `fedpoison.scenario.attack_data` adds it, since clients read no files."""


@lru_cache(maxsize=2)
def training_pixels(dataset: str) -> Tensor:
    """Return all training images as pixels in [0, 1], (m, c, h, w).

    The result is kept for the process. Do not write to it.

    Raises:
        ValueError: There is no reader, or the samples are no images.
    """
    return _read(dataset)[0].pixels().clamp(0, 1)


@lru_cache(maxsize=8)
def class_pixels(dataset: str, label: int) -> tuple[Tensor, Tensor]:
    """Return the training and the test images of one class as pixels in [0, 1], (m, c, h, w) each.

    The result is kept for the process. Do not write to it.

    Raises:
        ValueError: There is no reader, the samples are no images, or a set has no image of the class.
    """
    found = []
    for name, part in zip(("training", "test"), _read(dataset), strict=True):
        chosen = part.labels == label
        if not bool(chosen.any()):
            present = part.labels.unique().tolist()
            raise ValueError(
                f"source: got class {label}, of which the {name} set of {dataset} has no image, expected one "
                f"of {present}."
            )
        found.append(part[chosen].pixels().clamp(0, 1))
    return found[0], found[1]


def _read(dataset: str) -> tuple[Samples, Samples]:
    """Return the training and the test set of images, or raise ValueError."""
    if not READERS:
        raise ValueError(
            f"dataset: got {dataset}, and nothing reads data sets here; import fedpoison.scenario."
        )
    train, test = READERS[0](dataset)
    for part in (train, test):
        if not part.has_pixels:
            raise ValueError(
                f"dataset: got {dataset} with samples of the shape {tuple(part.images.shape[1:])}, expected "
                "images (channels, height, width)."
            )
    return train, test


def fit_pixels(pixels: Tensor, shape: torch.Size) -> Tensor:
    """Return images (m, c, h, w) in [0, 1] with another shape (c, h, w).

    Height and width are resized with a bilinear filter. Colours become their mean, and one channel becomes
    several equal ones.

    >>> fit_pixels(torch.tensor([0.0, 0.6]).view(1, 2, 1, 1), torch.Size([1, 2, 2])).flatten()
    tensor([0.3000, 0.3000, 0.3000, 0.3000])

    Raises:
        ValueError: The numbers of channels differ, and none of them is 1.
    """
    channels = len(pixels[0])
    if channels != shape[0] and 1 not in (channels, shape[0]):
        raise ValueError(
            f"dataset: got images with {channels} channels, expected 1 or {shape[0]}, as in the data set of "
            "the clients."
        )
    if shape[0] == 1:
        pixels = pixels.mean(dim=1, keepdim=True)
    pixels = pixels.expand(-1, shape[0], -1, -1)
    if pixels.shape[2:] != shape[1:]:
        size = [shape[1], shape[2]]
        pixels = interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
    return pixels.clamp(0, 1)

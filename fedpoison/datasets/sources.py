"""The data sets: where their files lie under a data folder, and how they are normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clients.samples import Samples
from fedpoison.datasets.idx import read_idx
from fedpoison.errors import DataError

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (m, c, h, w) of bytes, and labels (m,)."""


@dataclass(frozen=True)
class Dataset:
    """A training set and a test set, resident and normalised."""

    name: str
    train: Samples
    test: Samples


class Source(Protocol):
    """One data set."""

    @property
    def title(self) -> str:
        """What it is, in a few words."""

    @property
    def torchvision_class(self) -> str | None:
        """The torchvision class that downloads it; None for a set that is at hand anyway."""

    @property
    def download_options(self) -> Mapping[str, Any]:
        """What that class wants besides a folder."""

    @property
    def folder(self) -> str:
        """The folder of its files, under a data folder in torchvision's layout."""

    def read(self, root: Path) -> tuple[Samples, Samples]:
        """Return the training and the test set from the files under `root`.

        Raises:
            DataError: a file is missing or damaged.
        """


def normalised(part: Part, classes: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Samples:
    """Return bytes (m, c, h, w) as samples: pixels in [0, 1], minus the mean, over the deviation."""
    images, labels = part
    pixels = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).div_(255)
    shape = (1, -1, 1, 1)
    pixels.sub_(torch.tensor(mean).view(shape)).div_(torch.tensor(std).view(shape))
    return Samples(pixels, torch.from_numpy(labels.astype(np.int64)), classes, mean, std)


@dataclass(frozen=True)
class IdxSource:
    """A set in IDX files: MNIST and its relatives."""

    title: str
    torchvision_class: str
    folder: str
    mean: float
    std: float
    classes: int = 10
    prefix: str = ""
    transposed: bool = False
    download_options: Mapping[str, Any] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)

    def read(self, root: Path) -> tuple[Samples, Samples]:
        train, test = ("train", "test") if self.prefix else ("train", "t10k")
        return self._part(root, train), self._part(root, test)

    def _part(self, root: Path, part: str) -> Samples:
        images = self._file(root, f"{self.prefix}{part}-images-idx3-ubyte", dimensions=3)
        labels = self._file(root, f"{self.prefix}{part}-labels-idx1-ubyte", dimensions=1)
        if len(images) != len(labels):
            raise DataError(
                f"{root / self.folder}: got {len(images)} images but {len(labels)} labels; download it anew."
            )
        if self.transposed:
            images = images.transpose(0, 2, 1)
        return normalised((images[:, None], labels.astype(np.int64)), self.classes, (self.mean,), (self.std,))

    def _file(self, root: Path, name: str, *, dimensions: int) -> NDArray[np.uint8]:
        path = root / self.folder / name
        array = read_idx(path, sha256=self.sha256.get(name))
        if array.ndim != dimensions:
            raise DataError(f"{path}: got {array.ndim} dimensions, wanted {dimensions}; download it anew.")
        return array


@dataclass(frozen=True)
class Cifar10Source:
    """CIFAR-10, read by torchvision, which checks its files' checksums."""

    title: str = "60,000 colour photographs of 10 kinds of things, 32x32 (Krizhevsky, 2009)"
    torchvision_class: str = "CIFAR10"
    folder: str = "cifar-10-batches-py"
    download_options: Mapping[str, Any] = field(default_factory=dict)

    def read(self, root: Path) -> tuple[Samples, Samples]:
        import torchvision  # noqa: PLC0415  # a second to import, for this set alone

        parts = []
        for train in (True, False):
            try:
                part = torchvision.datasets.CIFAR10(root, train=train, download=False)
            except (RuntimeError, OSError) as error:
                raise DataError(
                    f"{root / self.folder}: is damaged ({error}); delete it, so that it is downloaded anew."
                ) from None
            parts.append((part.data.transpose(0, 3, 1, 2), np.array(part.targets)))
        mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
        return normalised(parts[0], 10, mean, std), normalised(parts[1], 10, mean, std)


@dataclass(frozen=True)
class DigitsSource:
    """The handwritten digits that ship inside scikit-learn, enlarged from 8x8 to 28x28."""

    title: str = "1,797 handwritten digits that ship with scikit-learn, enlarged to 28x28; needs no network"
    torchvision_class: None = None
    folder: str = ""
    download_options: Mapping[str, Any] = field(default_factory=dict)

    def read(self, root: Path) -> tuple[Samples, Samples]:
        from sklearn.datasets import load_digits  # noqa: PLC0415  # a second to import, for this set alone

        digits = load_digits()
        small = torch.from_numpy(digits.images[:, None]).float() / 16
        pixels = torch.nn.functional.interpolate(small, (28, 28), mode="bilinear", align_corners=False)
        mean, std = 0.3053, 0.3247
        samples = Samples((pixels - mean) / std, torch.from_numpy(digits.target).long(), 10, (mean,), (std,))
        # Writers follow one another in the file: every fifth sample of each class is for testing.
        rank = torch.zeros(len(samples), dtype=torch.long)
        for label in range(samples.classes):
            positions = (samples.labels == label).nonzero().flatten()
            rank[positions] = torch.arange(len(positions))
        test = rank % 5 == 4
        return samples[~test], samples[test]


DATASETS: dict[str, Source] = {
    "cifar10": Cifar10Source(),
    "digits": DigitsSource(),
    "emnist": IdxSource(
        title="131,600 handwritten letters and digits in 47 balanced classes, 28x28 (Cohen et al., 2017)",
        torchvision_class="EMNIST",
        folder="EMNIST/raw",
        prefix="emnist-balanced-",
        classes=47,
        mean=0.1751,
        std=0.3332,
        transposed=True,
        download_options={"split": "balanced"},
    ),
    "fashion-mnist": IdxSource(
        title="70,000 pictures of 10 kinds of clothes, 28x28 (Xiao et al., 2017)",
        torchvision_class="FashionMNIST",
        folder="FashionMNIST/raw",
        mean=0.2860,
        std=0.3530,
    ),
    "kmnist": IdxSource(
        title="70,000 cursive Japanese characters in 10 classes, 28x28 (Clanuwat et al., 2018)",
        torchvision_class="KMNIST",
        folder="KMNIST/raw",
        mean=0.1918,
        std=0.3483,
    ),
    "mnist": IdxSource(
        title="70,000 handwritten digits, 28x28 (LeCun et al., 1998)",
        torchvision_class="MNIST",
        folder="MNIST/raw",
        mean=0.1307,
        std=0.3081,
        sha256={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
}

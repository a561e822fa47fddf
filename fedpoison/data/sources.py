"""Built-in data sets: where their files are in a data folder, how to read and how to normalise them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from clients.training.samples import Samples
from fedpoison.data.own import OwnData
from fedpoison.errors import DataError

REMEDY = "delete it, and the next run downloads it again, or copy it again"


@dataclass(frozen=True)
class Dataset:
    """A training set and a test set, normalised and in memory."""

    name: str
    train: Samples
    test: Samples
    source: OwnData | None = None
    """Data set of the user that was loaded. None: a registered data set without parameters."""


class Source(Protocol):
    """A data set that can be loaded. Another package adds its own as an entry point `fedpoison.datasets`."""

    @property
    def title(self) -> str:
        """Description in a few words."""

    @property
    def folder(self) -> str:
        """Folder of the files, relative to a data folder. Empty: the set needs no data folder."""

    def fetch(self, root: Path) -> None:
        """Download the files into `folder` under `root`.

        Raises:
            OSError: the download failed.
            RuntimeError: the download failed, or a checksum is wrong.
        """

    def read(self, root: Path) -> tuple[Samples, Samples]:
        """Return the training and the test set from the files under `root`.

        Raises:
            DataError: a file is missing or damaged.
        """


def normalised(
    images: Tensor, labels: Tensor, classes: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Samples:
    """Return images (m, c, h, w) of bytes as samples: pixels in [0, 1], minus `mean`, divided by `std`."""
    pixels = images.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    shape = (1, -1, 1, 1)
    pixels.sub_(torch.tensor(mean).view(shape)).div_(torch.tensor(std).view(shape))
    return Samples(pixels, labels, classes, mean, std)


@dataclass(frozen=True, kw_only=True)
class TorchvisionSource(ABC):
    """A set that torchvision downloads; it compares the MD5 checksums."""

    title: str
    torchvision_class: str
    folder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the torchvision class."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """MD5 checksums of the published files in `folder`. Empty if they are not known."""

    def fetch(self, root: Path) -> None:
        import torchvision  # noqa: PLC0415  # a second to import

        dataset_class = getattr(torchvision.datasets, self.torchvision_class)
        dataset_class(root, train=True, download=True, **self.options)

    @property
    @abstractmethod
    def files(self) -> Sequence[str]:
        """Names of the files in `folder` that `read` needs."""

    def changed(self, root: Path) -> list[Path]:
        """Return the files that differ from the published ones."""
        files = {root / self.folder / name: digest for name, digest in self.digests.items()}
        return [path for path, digest in files.items() if _md5(path) != digest]


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, kw_only=True)
class IdxSource(TorchvisionSource):
    """A set in IDX files: MNIST and its relatives."""

    mean: float
    std: float
    classes: int = 10
    prefix: str = ""
    transposed: bool = False

    @property
    def files(self) -> Sequence[str]:
        return [name for part in self._parts for name in self._names(part)]

    def read(self, root: Path) -> tuple[Samples, Samples]:
        train, test = self._parts
        return self._part(root, train), self._part(root, test)

    @property
    def _parts(self) -> tuple[str, str]:
        return ("train", "test") if self.prefix else ("train", "t10k")

    def _names(self, part: str) -> tuple[str, str]:
        """Return the files of the images and of the labels of a part."""
        return f"{self.prefix}{part}-images-idx3-ubyte", f"{self.prefix}{part}-labels-idx1-ubyte"

    def _part(self, root: Path, part: str) -> Samples:
        from torchvision.datasets import mnist  # noqa: PLC0415  # a second to import

        folder = root / self.folder
        of_images, of_labels = self._names(part)
        images = _read_idx(folder / of_images, mnist.read_image_file)
        labels = _read_idx(folder / of_labels, mnist.read_label_file)
        if len(images) != len(labels):
            raise DataError(f"{folder}: got {len(images)} images but {len(labels)} labels; {REMEDY}.")
        if self.transposed:
            images = images.transpose(1, 2)
        return normalised(images[:, None], labels, self.classes, (self.mean,), (self.std,))


def _read_idx(path: Path, reader: Callable[[str], Tensor]) -> Tensor:
    """Return what torchvision's `reader` reads from an IDX file, or raise a DataError that names the file."""
    try:
        return reader(str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {REMEDY}.") from None
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = f" ({error})" if str(error) else ""
        raise DataError(f"{path}: is not an IDX file of bytes, or is damaged{reason}; {REMEDY}.") from None


@dataclass(frozen=True, kw_only=True)
class Cifar10Source(TorchvisionSource):
    """CIFAR-10. torchvision compares the MD5 checksums when it reads the files, too."""

    @property
    def files(self) -> Sequence[str]:
        return [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]

    def read(self, root: Path) -> tuple[Samples, Samples]:
        return self._part(root, train=True), self._part(root, train=False)

    def _part(self, root: Path, *, train: bool) -> Samples:
        import torchvision  # noqa: PLC0415  # a second to import

        try:
            part = torchvision.datasets.CIFAR10(root, train=train, download=False)
        except (RuntimeError, OSError) as error:
            raise DataError(f"{root / self.folder}: is damaged ({error}); {REMEDY}.") from None
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2)
        mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
        return normalised(images, torch.tensor(part.targets), 10, mean, std)


@dataclass(frozen=True)
class DigitsSource:
    """The handwritten digits of scikit-learn, enlarged from 8x8 to 28x28."""

    title: str = "1,797 handwritten digits of scikit-learn, enlarged to 28x28; needs no download"
    folder: str = ""

    def fetch(self, root: Path) -> None:
        """Download nothing: scikit-learn contains the files."""

    def read(self, root: Path) -> tuple[Samples, Samples]:
        table = torch.from_numpy(np.loadtxt(_digits_file(), delimiter=","))  # (1797, 65): pixels and label
        small, labels = table[:, None, :-1].reshape(-1, 1, 8, 8).float() / 16, table[:, -1].long()
        pixels = torch.nn.functional.interpolate(small, (28, 28), mode="bilinear", align_corners=False)
        mean, std = 0.3053, 0.3247
        samples = Samples((pixels - mean) / std, labels, 10, (mean,), (std,))
        # The file is sorted by writer. With every fifth sample of each class for testing, both sets have
        # all writers.
        rank = torch.zeros(len(samples), dtype=torch.long)
        for label in range(samples.classes):
            positions = (samples.labels == label).nonzero().flatten()
            rank[positions] = torch.arange(len(positions))
        test = rank % 5 == 4
        return samples[~test], samples[test]


def _digits_file() -> Path:
    """Return the file of the digits in scikit-learn, which takes two seconds to import.

    Raises:
        DataError: scikit-learn is not installed, or does not contain the file.
    """
    found = find_spec("sklearn")
    folder = Path(found.origin).parent if found is not None and found.origin else Path()
    path = folder / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataError(f"{path}: the digits of scikit-learn are missing; install scikit-learn again.")
    return path


DATASETS: dict[str, Source] = {
    "cifar10": Cifar10Source(
        title="60,000 colour photographs of 10 kinds of things, 32x32 (Krizhevsky, 2009)",
        torchvision_class="CIFAR10",
        folder="cifar-10-batches-py",
    ),
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
        options={"split": "balanced"},
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
        digests={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
    ),
}

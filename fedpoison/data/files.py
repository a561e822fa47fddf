"""Data sets in files of the user: NumPy archives, and folders of images."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from clients.bounds import Count, OpenShare
from clients.training.samples import Samples
from fedpoison.data.arrays import TEST_SHARE, Array, Labelled, to_samples
from fedpoison.data.own import FileData, listed
from fedpoison.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class Npz(FileData):
    """Read arrays from a NumPy archive, as numpy.savez writes it.

    The archive has `x_train`, `y_train`, `x_test` and `y_test`, or `x` and `y`, which are split. Optional
    arrays are `clients_train` (or `clients`) with the client of each training sample, and `class_names`. If
    the path is a folder, each archive in it has the `x` and `y` of one client.
    """

    path: str
    """Path of the file, or of a folder with one file per client."""
    test_share: OpenShare = TEST_SHARE
    """Share of the samples of each class for testing, if the archive has no test set."""
    kind: Literal["auto", "tokens"] = "auto"
    """Meaning of arrays (m, d): features of any range, which are normalised, or numbers of tokens."""

    def files(self, path: Path) -> Iterator[tuple[str, Path]]:
        return listed(path, (".npz",))

    def read(self) -> tuple[Samples, Samples]:
        found = [(file, _archive(file)) for _, file in self.files(Path(self.path))]
        names: Sequence[str] = ()
        if Path(self.path).is_dir():
            parts = [_part(file, arrays, "x", "y", client=file.stem) for file, arrays in found]
            train, test = joined(self.path, parts).split(self.path, self.test_share)
        else:
            ((file, arrays),) = found
            names = [str(name) for name in np.atleast_1d(arrays.get("class_names", ()))]
            if "x_train" in arrays:
                train = _part(file, arrays, "x_train", "y_train", clients="clients_train")
                test = _part(file, arrays, "x_test", "y_test")
            else:
                train, test = _part(file, arrays, "x", "y", clients="clients").split(
                    self.path, self.test_share
                )
        return to_samples(self.path, train, test, class_names=names, tokens=self.kind == "tokens")


def _archive(path: Path) -> Mapping[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, OSError):
        raise DataError(
            f"{path}: is not an npz file of plain arrays, or is damaged; write it with numpy.savez, with "
            "arrays of numbers or texts, not objects."
        ) from None


def _part(
    file: Path, arrays: Mapping[str, Array], x: str, y: str, *, clients: str = "", client: str | None = None
) -> Labelled:
    for name in (x, y):
        if name not in arrays:
            raise DataError(
                f"{file}: got the arrays {', '.join(arrays) or 'none'}, expected x_train, y_train, "
                "x_test and y_test, or x and y."
            )
        if not arrays[name].ndim:
            raise DataError(f"{file}: got a single value in {name}, expected one per sample; save an array.")
    owners = arrays.get(clients) if client is None else np.full(len(arrays[y]), client)
    if owners is not None and owners.shape != (len(arrays[y]),):
        raise DataError(
            f"{file}: got {clients} of shape {owners.shape}, expected ({len(arrays[y])},), one per sample."
        )
    return Labelled(arrays[x], arrays[y], owners)


def joined(where: str, parts: Sequence[Labelled]) -> Labelled:
    """Return all parts as one, or raise DataError if their samples differ in shape."""
    shapes = {part.x.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise DataError(
            f"{where}: got samples of the shapes {sorted(shapes)}, expected the same in each file."
        )
    owners = [part.clients for part in parts if part.clients is not None]
    return Labelled(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate(owners) if owners else None,
    )


@dataclass(frozen=True, kw_only=True)
class ImageFolder(FileData):
    """Read images from a folder with one subfolder per class.

    If the folder contains `train` and `test` (or `val`), each of them has the subfolders of the classes.
    """

    path: str
    """Path of the folder."""
    size: Count = 32
    """Height and width to which each image is resized. 0 keeps the size, which must be the same for all."""
    mode: Literal["rgb", "grey"] = "rgb"
    """Channels of an image: three colours, or one."""
    clients: bool = False
    """Whether the folder (or `train`) has one subfolder per client, with the classes in it."""
    test_share: OpenShare = TEST_SHARE
    """Share of the images of each class for testing, without a folder `test`."""

    def files(self, path: Path) -> Iterator[tuple[str, Path]]:
        if not path.is_dir():
            raise DataError(f"{path}: is not a folder; give one with a subfolder per class.")
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES)
        if not found:
            raise DataError(f"{path}: contains no image ({', '.join(IMAGES)}); give another folder.")
        yield from ((file.relative_to(path).as_posix(), file) for file in found)

    def read(self) -> tuple[Samples, Samples]:
        root = Path(self.path)
        train = next((root / name for name in ("train",) if (root / name).is_dir()), root)
        held = next(
            (root / name for name in ("test", "val") if (root / name).is_dir() and train != root), None
        )
        groups = {"train": self._found(train, depth=2 if self.clients else 1)}
        if held is not None:
            groups["test"] = self._found(held, depth=1)
        names = sorted({folders[-1] for group in groups.values() for folders, _ in group})
        _check_empty(train, 2 if self.clients else 1, names)
        parts = [self._labelled(group, names) for group in groups.values()]
        train_part, test_part = parts if held is not None else parts[0].split(self.path, self.test_share)
        return to_samples(self.path, train_part, test_part, class_names=names)

    def _found(self, root: Path, depth: int) -> list[tuple[tuple[str, ...], Path]]:
        """Return the images with the names of their folders: the class, after the client if there is one."""
        found = []
        for name, file in self.files(root):
            folders = tuple(name.split("/")[:-1])
            if len(folders) != depth:
                layout = "/".join(("client", "class", "image")[-depth - 1 :])
                raise DataError(f"{root}: got the image {name}, expected {layout}; move it.")
            found.append((folders, file))
        return found

    def _labelled(self, found: Sequence[tuple[tuple[str, ...], Path]], names: Sequence[str]) -> Labelled:
        images = [self._image(file) for _, file in found]
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise DataError(
                f"{self.path}: got images of {len(shapes)} sizes, expected one with size=0; set size=32, or "
                "another size."
            )
        labels = np.array([names.index(folders[-1]) for folders, _ in found])
        owners = np.array([folders[0] for folders, _ in found]) if len(found[0][0]) > 1 else None
        return Labelled(np.stack(images), labels, owners)

    def _image(self, path: Path) -> Array:
        from PIL.Image import open as open_image  # noqa: PLC0415  # only images need it

        try:
            with open_image(path) as opened:
                return image_array(opened, self.size, self.mode)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path}: is not an image ({error}); remove it, or copy it again.") from None


def _check_empty(root: Path, depth: int, names: Sequence[str]) -> None:
    """Raise DataError if the folder of a class has no image in the whole data set."""
    for folder in sorted(root.glob("/".join("*" * depth))):
        hidden = any(part.startswith((".", "_")) for part in folder.relative_to(root).parts)
        if folder.is_dir() and not hidden and folder.name not in names:
            raise DataError(
                f"{folder}: contains no image ({', '.join(IMAGES)}), expected those of a class; add images, "
                "or remove the folder."
            )


def image_array(image: Image, size: int, mode: str) -> Array:
    """Return the pixels of an image (c, h, w), resized to `size` in both directions unless it is 0."""
    converted = image.convert("RGB" if mode == "rgb" else "L")
    if size:
        converted = converted.resize((size, size), BILINEAR)
    return np.asarray(converted).reshape(converted.height, converted.width, -1).transpose(2, 0, 1)


BILINEAR = 2
"""Filter with which images are resized, as Pillow numbers it."""


IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Suffixes of image files."""

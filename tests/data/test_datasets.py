import hashlib
import re
import shutil
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from fedpoison.data import DATASETS, load_dataset
from fedpoison.data.datasets import datasets
from fedpoison.errors import DataError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.scenario.scenario import Scenario


def idx(array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_set(root, *, train=30, test=10):
    """Write a set in the files and the folder of fashion-mnist, whose checksums are not known."""
    folder = root / DATASETS["fashion-mnist"].folder
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx((np.arange(count) % 10).astype(np.uint8)))
    return folder


def content(folder):
    """Return the names in a data folder, without the empty lock file of downloads."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".download.lock")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No data on disk, and no network."""

    def refuse(*_args, **_options):
        raise OSError("Name or service not known")

    monkeypatch.delenv("FEDPOISON_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path / "cache")
    monkeypatch.setattr("torchvision.datasets.MNIST.__init__", refuse)


def test_digits_need_nothing(digits):
    assert (len(digits.train), len(digits.test)) == (1442, 355)
    assert digits.train.images.shape[1:] == (1, 28, 28)
    assert digits.train.images.dtype == torch.float32
    assert digits.train.labels.bincount().min() >= 139
    assert digits.test.labels.bincount().min() >= 34
    both = torch.cat([digits.train.images, digits.test.images])
    assert abs(float(both.mean())) < 1e-3
    assert abs(float(both.std()) - 1) < 1e-2


def test_digits_are_those_of_scikit_learn(digits):
    table = load_digits()
    small = torch.from_numpy(table.images).float()[:, None] / 16
    pixels = torch.nn.functional.interpolate(small, (28, 28), mode="bilinear", align_corners=False)
    positions = [
        number for label in range(10) for number in (table.target == label).nonzero()[0].tolist()[4::5]
    ]
    assert torch.equal(digits.test.images, ((pixels - 0.3053) / 0.3247)[sorted(positions)])
    assert digits.test.labels.tolist() == table.target[sorted(positions)].tolist()


def test_digits_are_there_where_no_data_folder_exists(offline):
    assert load_dataset("digits").name == "digits"


def test_pixels_are_found_again(digits):
    pixels = digits.train.pixels()
    assert float(pixels.min()) == pytest.approx(0, abs=1e-6)
    assert float(pixels.max()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(digits.train.with_pixels(pixels).images, digits.train.images)


def test_mnist_is_what_it_should_be():
    try:
        mnist = load_dataset("mnist", download=False)
    except DataError as error:
        pytest.skip(f"MNIST is not on this machine: {error}")
    assert (len(mnist.train), len(mnist.test)) == (60_000, 10_000)
    assert mnist.train.labels.bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert abs(float(mnist.train.images.mean())) < 1e-3
    assert abs(float(mnist.train.images.std()) - 1) < 1e-3


def test_files_are_found_in_the_order_given_environment_cache(tmp_path, monkeypatch):
    given, environment, cache = (tmp_path / name for name in ("given", "environment", "cache"))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: cache)
    monkeypatch.setenv("FEDPOISON_DATA", str(environment))
    for root, count in ((cache, 10), (environment, 20), (given, 30)):
        write_set(root, train=count)
        assert len(load_dataset("fashion-mnist").train) == min(count, 20)
    assert len(load_dataset("fashion-mnist", data_dir=given).train) == 30


def test_bytes_become_normalised_samples(tmp_path):
    write_set(tmp_path)
    dataset = load_dataset("fashion-mnist", data_dir=tmp_path)
    content = (tmp_path / "FashionMNIST/raw/train-images-idx3-ubyte").read_bytes()
    raw = np.frombuffer(content, np.uint8, offset=16).reshape(30, 1, 28, 28)
    expected = (raw / 255 - 0.2860) / 0.3530
    np.testing.assert_allclose(dataset.train.images, expected, rtol=1e-4, atol=1e-5)
    assert dataset.train.labels.tolist() == [label % 10 for label in range(30)]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "{}: .*damaged .*invalid for input of size"),
        (lambda path: path.write_bytes(b"<html>not found</html>"), "{}: is not an IDX file"),
        (lambda path: path.write_bytes(b""), "{}: is not an IDX file"),
        (lambda path: path.write_bytes(idx(np.zeros((2, 2), np.uint8))), "{}: .*should have 3 dimension"),
        (lambda path: path.write_bytes(idx(np.zeros((3, 28, 28), np.uint8))), "got 3 images but 30 labels"),
    ],
    ids=["truncated", "html", "empty", "dimensions", "count"],
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, damage, words):
    path = write_set(tmp_path) / "train-images-idx3-ubyte"
    damage(path)
    with pytest.raises(DataError, match=words.format(re.escape(str(path)))) as raised:
        load_dataset("fashion-mnist", data_dir=tmp_path)
    assert str(path.parent) in str(raised.value)
    assert "download" in str(raised.value)


class Fetched:
    """Stands for a data set of torchvision that downloads."""

    def __init__(self, root, *, train, download):
        write_set(Path(root))


@pytest.mark.parametrize("remove", [Path.unlink, lambda path: shutil.rmtree(path.parent)])
def test_the_advice_for_a_damaged_file_is_true(offline, tmp_path, monkeypatch, remove):
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Fetched)
    path = write_set(tmp_path) / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(DataError, match="delete it, and the next run downloads it again"):
        load_dataset("fashion-mnist", data_dir=tmp_path)
    remove(path)
    assert len(load_dataset("fashion-mnist", data_dir=tmp_path).train) == 30
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-5])
    path.write_bytes(whole)  # or copy it again
    assert len(load_dataset("fashion-mnist", data_dir=tmp_path).train) == 30


@pytest.mark.parametrize("given", [[], ["train-images-idx3-ubyte"]], ids=["empty", "incomplete"])
def test_a_folder_without_all_files_does_not_hide_the_next_folder(offline, tmp_path, monkeypatch, given):
    folder = tmp_path / "given/FashionMNIST/raw"
    folder.mkdir(parents=True)
    for name in given:
        (folder / name).write_bytes(b"")
    monkeypatch.setenv("FEDPOISON_DATA", str(tmp_path / "environment"))
    write_set(tmp_path / "environment")
    assert len(load_dataset("fashion-mnist", data_dir=tmp_path / "given").train) == 30


def test_files_that_are_missing_are_named_if_they_cannot_be_downloaded(offline, tmp_path):
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte").write_bytes(b"")
    words = (
        f"mnist: is not on disk [(]{folder} lacks train-labels-idx1-ubyte, .*, not in .*cannot be downloaded"
    )
    with pytest.raises(DataError, match=words):
        load_dataset("mnist", data_dir=tmp_path)
    with pytest.raises(DataError, match="mnist: .* lacks train-labels-idx1-ubyte"):
        load_dataset("mnist", data_dir=tmp_path, download=False)


def test_files_that_differ_from_the_published_ones_are_found(tmp_path):
    folder = tmp_path / "MNIST/raw"
    write_set(tmp_path).rename(folder.parent.mkdir() or folder)
    source = DATASETS["mnist"]
    assert source.changed(tmp_path) == [folder / name for name in source.files]
    digests = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in source.files}  # noqa: S324
    assert replace(source, digests=digests).changed(tmp_path) == []


def test_folders_are_texts_or_paths(tmp_path):
    write_set(tmp_path)
    for folder in (tmp_path, str(tmp_path)):
        assert len(load_dataset("fashion-mnist", data_dir=folder).train) == 30
        scenario = Scenario(dataset="fashion-mnist", clients=3)
        assert len(Federation.load(scenario, data_dir=folder).train) == 30


def test_a_named_set_that_cannot_be_had_says_what_to_do(offline, tmp_path):
    with pytest.raises(
        DataError, match="mnist: .*cannot be downloaded.*--data-dir or FEDPOISON_DATA.*digits"
    ):
        load_dataset("mnist", data_dir=tmp_path / "new")
    assert content(tmp_path / "new") == []


def test_auto_falls_back_to_digits_loudly(offline):
    notices = []
    dataset = load_dataset("auto", notify=notices.append)
    assert dataset.name == "digits"
    assert len(notices) == 1
    assert "MNIST IS NOT AVAILABLE" in notices[0]


def test_a_folder_that_cannot_be_written_is_an_error(offline, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match="cannot be downloaded"):
        load_dataset("mnist", data_dir=blocked)


def test_a_download_is_moved_into_place_whole(offline, tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Fetched)
    dataset = load_dataset("fashion-mnist", data_dir=tmp_path)
    assert len(dataset.train) == 30
    assert content(tmp_path) == ["FashionMNIST"]


def test_processes_that_need_the_same_set_download_it_once(offline, tmp_path, monkeypatch):
    downloads = []

    class Slow:
        def __init__(self, root, *, train, download):
            downloads.append(root)
            time.sleep(0.2)
            write_set(Path(root))

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Slow)
    with ThreadPoolExecutor(2) as pool:  # each has a lock of its own, as processes have
        both = list(pool.map(lambda _: load_dataset("fashion-mnist", data_dir=tmp_path), range(2)))
    assert [len(dataset.train) for dataset in both] == [30, 30]
    assert len(downloads) == 1


def test_emnist_images_are_turned_upright(tmp_path):
    folder = tmp_path / "EMNIST/raw"
    folder.mkdir(parents=True)
    image = np.arange(784, dtype=np.int64).reshape(1, 28, 28) % 256
    for part in ("train", "test"):
        (folder / f"emnist-balanced-{part}-images-idx3-ubyte").write_bytes(idx(image.astype(np.uint8)))
        (folder / f"emnist-balanced-{part}-labels-idx1-ubyte").write_bytes(idx(np.array([46], np.uint8)))
    dataset = load_dataset("emnist", data_dir=tmp_path)
    assert dataset.train.classes == 47
    np.testing.assert_allclose(dataset.train.pixels()[0, 0].T * 255, image[0], atol=1e-3)


def test_unknown_names_are_refused():
    with pytest.raises(ScenarioError, match="did you mean 'mnist'"):
        load_dataset("mnits")


def test_every_set_says_what_it_is():
    for name, source in DATASETS.items():
        assert source.title, name


class Added:
    """An entry point of another package, and the data set that it names."""

    title = "a set of another package"

    def __init__(self, folder=""):
        self.folder = folder

    def load(self):
        return self

    def fetch(self, root):
        (root / self.folder).mkdir(parents=True)

    def read(self, root):
        assert (root / self.folder).is_dir()
        return DATASETS["digits"].read(root)


@pytest.mark.parametrize("folder", ["", "theirs/raw"], ids=["no files", "files"])
def test_other_packages_add_sets_through_entry_points(offline, monkeypatch, tmp_path, folder):
    points = {"theirs": Added(folder)}
    monkeypatch.setattr("fedpoison.registry.added", lambda group: points if "datasets" in group else {})
    assert "theirs" in datasets.entries()
    dataset = load_dataset("theirs", data_dir=tmp_path)
    assert (dataset.name, len(dataset.train)) == ("theirs", 1442)
    assert (tmp_path / folder).is_dir()
    assert Scenario(dataset="theirs").dataset == "theirs"
    with pytest.raises(ScenarioError, match="did you mean 'theirs'"):
        load_dataset("their")


def test_digits_that_stand_in_give_all_they_have(offline):
    wanted = Scenario(train_samples=6000, test_samples=100, clients=4, rounds=1)
    assert wanted.dataset == "auto"
    used = Federation.load(wanted).scenario
    assert (used.dataset, used.train_samples, used.test_samples) == ("digits", 0, 100)
    with pytest.raises(ScenarioError, match="train_samples: got 6000, expected at most"):
        Federation.load(wanted.replace(dataset="digits"))

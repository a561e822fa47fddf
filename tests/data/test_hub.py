"""Data sets and partitioners of other libraries, with the libraries where they are installed."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fedpoison.data.flower_partitions import FlowerPartition
from fedpoison.errors import DataError, ScenarioError
from fedpoison.federation.datasets import dataset_of, resolve_dataset
from fedpoison.federation.federation import Federation
from fedpoison.scenario.scenario import Scenario

LABELS = torch.arange(120) % 3
pytestmark = pytest.mark.xdist_group("hub")  # the libraries take seconds to import: one process does


class Split:
    """What this package uses of a split of the library `datasets`."""

    def __init__(self, names=(), **columns):
        self.columns = columns
        self.column_names = list(columns)
        named = type("ClassLabel", (), {"names": list(names)} if names else {})
        self.features = dict.fromkeys(columns, named)

    def __getitem__(self, column):
        return self.columns[column]

    def to_pandas(self):
        return pd.DataFrame(self.columns)


@pytest.fixture
def hub(monkeypatch):
    """A hub with a data set of images and one of features, in place of the library."""

    def load_dataset(name, config, *, revision):
        if name == "gone":
            raise FileNotFoundError("Dataset 'gone' doesn't exist on the Hub")
        pixels = np.random.default_rng(0).integers(0, 256, (20, 6, 4, 3), dtype=np.uint8)
        rows = range(20)
        if name == "photos":
            images = [Image.fromarray(pixel) for pixel in pixels]
            labels, owners = [row % 2 for row in rows], [f"writer {row % 4}" for row in rows]
            train = Split(["dog", "cat"], image=images, label=labels, writer=owners)
            return {"train": train, "test": Split(["dog", "cat"], image=images[:6], label=labels[:6])}
        if name == "words":
            return {"train": Split(text=["x", "y"], label=[0, 1])}
        return {"all": Split(a=[float(row) for row in rows], kind=["x", "y"] * 10, label=[3] * 20)}

    module = type(sys)("datasets")
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)


def loaded(spec):
    scenario = Scenario(dataset=spec, clients=4, partition="natural" if "client=" in spec else "iid")
    dataset = dataset_of(scenario)
    return dataset, resolve_dataset(scenario, dataset)


def test_images_of_the_hub_keep_names_and_clients(hub):
    dataset, scenario = loaded("hf(name=photos, image=image, client=writer, size=5)")
    assert dataset.train.images.shape == (20, 3, 5, 5)
    assert dataset.train.class_names == ("dog", "cat")
    assert dataset.train.labels[:4].tolist() == [0, 1, 0, 1]
    assert len(dataset.test) == 6
    assert [len(part) for part in Federation(scenario, dataset).parts] == [5, 5, 5, 5]
    assert loaded("hf(name=photos, image=image, client=writer, size=4)")[1].run_id != scenario.run_id
    assert loaded(str(scenario.dataset))[1].run_id == scenario.run_id


def test_features_of_the_hub_are_split(hub):
    dataset, _ = loaded("hf(name=numbers, label=kind, train=all)")
    assert (len(dataset.train), len(dataset.test)) == (16, 4)
    assert dataset.train.class_names == ("x", "y")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("hf(name=gone)", "gone: cannot be loaded from the Hugging Face hub .*doesn't exist.*check the name"),
        (
            "hf(name=photos, image=picture)",
            "photos: unknown column 'picture'.*Choose from image, label, writer",
        ),
        ("hf(name=words, image=text)", "column text: got str in row 0, expected an image"),
        ("hf(name=photos, train=training)", "photos: unknown split 'training': did you mean 'train'"),
    ],
)
def test_errors_of_the_hub_are_one_line(hub, spec, words):
    with pytest.raises(DataError, match=words):
        loaded(spec)


def test_missing_libraries_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setitem(sys.modules, "flwr_datasets", None)
    with pytest.raises(DataError, match=r"mnist: the package datasets is not installed.*fedpoison\[hub\]"):
        loaded("hf(name=ylecun/mnist)")
    scenario = Scenario(dataset="digits", partition="flwr-datasets:IidPartitioner", clients=3)
    assert scenario.partition == "flwr-datasets:IidPartitioner"
    with pytest.raises(ScenarioError, match=r"the package flwr-datasets is not installed.*fedpoison\[hub\]"):
        Federation.load(scenario)


def test_the_library_itself_loads_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    frame = pd.DataFrame({"a": range(20), "label": ["x", "y"] * 10})
    frame.to_parquet(tmp_path / "train.parquet")
    dataset, scenario = loaded(f"hf(name={tmp_path})")
    assert (len(dataset.train), len(dataset.test)) == (16, 4)
    assert Scenario.parse(scenario.content()).run_id == scenario.run_id


def divided(name, clients=4, seed=0, **arguments):
    partition = FlowerPartition(name, tuple(arguments.items()))
    return partition(LABELS, clients, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("IidPartitioner", {}),
        ("LinearPartitioner", {}),
        ("DirichletPartitioner", {"alpha": 1.0, "min_partition_size": 2}),
        ("PathologicalPartitioner", {"num_classes_per_partition": 2}),
        ("ShardPartitioner", {"num_shards_per_partition": 2}),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of pyarrow, to Flower Datasets
def test_partitioners_of_flower_divide_all_samples(name, arguments):
    pytest.importorskip("flwr_datasets")
    one, two = divided(name, **arguments), divided(name, **arguments)
    assert sorted(torch.cat(one).tolist()) == list(range(120))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_partitioners_of_flower_run_and_check_their_arguments():
    pytest.importorskip("flwr_datasets")
    spec = "flwr-datasets:DirichletPartitioner(alpha=1.0, min_partition_size=1)"
    federation = Federation.load(Scenario(dataset="digits", partition=spec, clients=5))
    assert sum(len(part) for part in federation.parts) == 1442
    with pytest.raises(ScenarioError, match="unknown partitioner.*did you mean 'IidPartitioner'"):
        divided("IdPartitioner")
    with pytest.raises(ScenarioError, match="unknown argument of DirichletPartitioner 'alfa'"):
        divided("DirichletPartitioner", alfa=1)
    with pytest.raises(ScenarioError, match="Flower Datasets refuses the arguments: .*alpha"):
        divided("DirichletPartitioner")
    with pytest.raises(ScenarioError, match="got 3 partitions, expected 4.*set clients=3"):
        divided("NaturalIdPartitioner")
    assert FlowerPartition("NaturalIdPartitioner", (("partition_by", "client"),)).by_client

"""Data sets of the user: what is read, what a bad file says, and what the run id depends on."""

import pickle
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import fedpoison as fp
from fedpoison.data import FORMATS, load_dataset
from fedpoison.data.files import Npz
from fedpoison.errors import DataError, ScenarioError
from fedpoison.federation.datasets import dataset_of, resolve_dataset
from fedpoison.federation.federation import Federation
from fedpoison.scenario.scenario import Scenario

DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (60, 8, 8), dtype=np.uint8)
LABELS = np.arange(60) % 3
FEATURES = DRAW.normal(5, 3, (60, 4))
TINY = {"clients": 3, "rounds": 1, "model": "mlp-small"}


def loaded(spec):
    """Return the data set, and the scenario that names it."""
    scenario = Scenario(dataset=spec, clients=3)
    dataset = dataset_of(scenario)
    return dataset, resolve_dataset(scenario, dataset)


def write_images(folder, names=("cat", "dog"), count=10, size=(9, 7), mode="RGB"):
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            colour = DRAW.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) // (label + 1)
            Image.fromarray(colour).convert(mode).save(folder / name / f"{number}.png")


def table(rows=60, clients=4):
    frame = pd.DataFrame(FEATURES[:rows], columns=list("abcd"))
    frame["town"] = ["Rome", "Oslo"] * (rows // 2)
    frame["owner"] = [f"client {row % clients}" for row in range(rows)]
    return frame.assign(kind=[("ash", "elm", "oak")[label] for label in LABELS[:rows]])


def test_an_archive_with_a_test_set_is_read_as_it_is(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x_train=PIXELS[:40], y_train=LABELS[:40], x_test=PIXELS[40:], y_test=LABELS[40:])
    dataset, _ = loaded(f"npz(path={path})")
    assert dataset.name == "set.npz"
    assert dataset.train.images.shape == (40, 1, 8, 8)
    np.testing.assert_allclose(dataset.train.pixels()[:, 0], PIXELS[:40] / 255, atol=1e-6)
    np.testing.assert_allclose(dataset.test.pixels()[:, 0], PIXELS[40:] / 255, atol=1e-6)
    assert dataset.test.labels.tolist() == LABELS[40:].tolist()
    assert abs(float(dataset.train.images.mean())) < 1e-5
    assert float(dataset.train.images.std()) == pytest.approx(1, abs=1e-3)
    assert dataset.train.class_names == ()


def test_without_a_test_set_each_class_is_split_in_the_same_way(tmp_path):
    np.savez(tmp_path / "set.npz", x=PIXELS, y=LABELS)
    dataset, _ = loaded(f"npz(path={tmp_path / 'set.npz'}, test_share=0.25)")
    assert dataset.test.labels.bincount().tolist() == [5, 5, 5]
    assert dataset.train.labels.bincount().tolist() == [15, 15, 15]
    whole = torch.cat([dataset.train.pixels(), dataset.test.pixels()]).flatten(1)
    expected = torch.from_numpy(PIXELS / 255).float().flatten(1)
    assert torch.equal(
        (whole * 255).round().sum(dim=1).sort().values, (expected * 255).sum(dim=1).sort().values
    )


@pytest.mark.parametrize(
    ("x", "shape", "lowest", "highest"),
    [
        (PIXELS, (1, 8, 8), 0, 1),
        (np.stack([PIXELS] * 3, axis=-1), (3, 8, 8), 0, 1),
        (np.stack([PIXELS] * 3, axis=1), (3, 8, 8), 0, 1),
        (PIXELS.astype(np.int64), (1, 8, 8), 0, 1),
        (PIXELS / 255, (1, 8, 8), 0, 1),
        (PIXELS / 510, (1, 8, 8), 0, 0.5),
        ((PIXELS / 255 - 0.5) * 4, (1, 8, 8), 0, 1),
        (PIXELS > 100, (1, 8, 8), 0, 1),
    ],
    ids=["bytes", "channels last", "channels first", "integers", "shares", "dark", "normalised", "bits"],
)
def test_pixels_are_shares(x, shape, lowest, highest):
    dataset, _ = loaded((x, LABELS, x, LABELS))
    assert dataset.train.images.shape[1:] == shape
    assert dataset.train.images.dtype == torch.float32
    pixels = dataset.train.pixels()
    assert float(pixels.min()) == pytest.approx(lowest, abs=1e-5)
    assert float(pixels.max()) == pytest.approx(highest, abs=1e-2)
    torch.testing.assert_close(dataset.train.with_pixels(pixels).images, dataset.train.images)


def test_features_are_standardised_by_the_training_set():
    constant = np.hstack([FEATURES, np.full((60, 1), 7.0)])
    dataset, _ = loaded((constant[:40], LABELS[:40], constant[40:], LABELS[40:]))
    mean, std = FEATURES[:40].mean(axis=0), FEATURES[:40].std(axis=0)
    np.testing.assert_allclose(dataset.test.images[:, :4], (FEATURES[40:] - mean) / std, rtol=1e-4, atol=1e-5)
    assert dataset.train.images[:, 4].unique().tolist() == [0.0]


def test_tokens_stay_numbers(tmp_path):
    tokens = DRAW.integers(0, 50, (60, 6))
    np.savez(tmp_path / "words.npz", x=tokens, y=LABELS)
    dataset, _ = loaded(f"npz(path={tmp_path / 'words.npz'}, kind=tokens)")
    assert dataset.train.images.dtype == torch.int64
    assert dataset.train.images.shape == (48, 6)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS, ()),
        (LABELS.astype(float), ()),
        (LABELS.astype(np.uint8), ()),
        (LABELS * 10 + 5, ("5", "15", "25")),
        (LABELS - 1, ("-1", "0", "1")),
        (np.array(["b", "a", "c"])[LABELS], ("a", "b", "c")),
        (LABELS > 0, ("False", "True")),
        (LABELS.astype(object), ()),
        (np.array(["b", "a", "c"], dtype=object)[LABELS], ("a", "b", "c")),
    ],
    ids=["numbers", "floats", "bytes", "gaps", "negative", "texts", "truth", "objects", "objects of texts"],
)
def test_labels_are_mapped_and_named(labels, names):
    dataset, _ = loaded((PIXELS, labels, PIXELS, labels))
    _, expected = np.unique(labels, return_inverse=True)
    assert dataset.train.labels.tolist() == expected.tolist()
    assert dataset.train.class_names == names
    assert dataset.train.classes == len(set(labels.tolist()))


def test_a_mapping_of_numbers_is_shown():
    federation = Federation.load(Scenario(dataset=(PIXELS, LABELS * 10), clients=3))
    assert "labels of arrays are mapped to 0 to 2: 0 to 0, 10 to 1, 20 to 2" in federation.warnings
    assert Federation.load(Scenario(dataset=(PIXELS, LABELS), clients=3)).warnings == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_becomes_features(tmp_path, suffix):
    frame = table()
    getattr(frame, f"to_{suffix}")(tmp_path / f"trees.{suffix}", index=False)
    dataset, _ = loaded(f"{suffix}(path={tmp_path / f'trees.{suffix}'}, label=kind, client=owner)")
    assert dataset.train.class_names == ("ash", "elm", "oak")
    assert dataset.train.images.shape == (48, 6)  # four numbers, and one feature per town
    raw = dataset.train.pixels()
    assert {tuple(row) for row in raw[:, 4:].round().int().tolist()} == {(0, 1), (1, 0)}
    assert dataset.train.clients.unique().tolist() == [0, 1, 2, 3]
    ignored, _ = loaded(f'{suffix}(path={tmp_path / f"trees.{suffix}"}, label=kind, ignore="owner, town")')
    assert ignored.train.images.shape == (48, 4)
    assert ignored.train.clients is None


def test_a_table_can_have_a_file_for_testing(tmp_path):
    table().to_csv(tmp_path / "train.csv", index=False)
    table(12).to_csv(tmp_path / "test.csv", index=False)
    spec = f"csv(path={tmp_path / 'train.csv'}, test={tmp_path / 'test.csv'}, label=kind, client=owner)"
    dataset, scenario = loaded(spec)
    assert (len(dataset.train), len(dataset.test)) == (60, 12)
    assert len(dataset.train.clients) == 60
    table(12).assign(a=0).to_csv(tmp_path / "test.csv", index=False)
    assert loaded(spec)[1].run_id != scenario.run_id


def test_a_folder_has_one_file_per_client(tmp_path):
    for number in range(4):
        table(16).to_csv(tmp_path / f"client-{number}.csv", index=False)
    dataset, _ = loaded(f"csv(path={tmp_path}, label=kind, ignore=owner)")
    assert dataset.train.clients.unique().tolist() == [0, 1, 2, 3]
    archives = tmp_path / "archives"
    archives.mkdir()
    for number in range(3):
        np.savez(archives / f"{number}.npz", x=PIXELS[number * 20 :][:20], y=LABELS[number * 20 :][:20])
    dataset, _ = loaded(f"npz(path={archives})")
    assert sorted(dataset.train.clients.unique().tolist()) == [0, 1, 2]


def test_images_of_any_size_are_resized(tmp_path):
    write_images(tmp_path / "cats", size=(9, 7))
    dataset, _ = loaded(f"image-folder(path={tmp_path / 'cats'}, size=6)")
    assert dataset.train.images.shape == (16, 3, 6, 6)
    assert dataset.train.class_names == ("cat", "dog")
    assert dataset.test.labels.bincount().tolist() == [2, 2]
    grey, _ = loaded(f"image-folder(path={tmp_path / 'cats'}, size=0, mode=grey)")
    assert grey.train.images.shape == (16, 1, 7, 9)


def test_images_of_a_test_folder_and_of_clients(tmp_path):
    for client in ("ann", "bob", "eve"):
        write_images(tmp_path / "train" / client, count=4)
    write_images(tmp_path / "test", names=("dog",), count=3)
    dataset, _ = loaded(f"image-folder(path={tmp_path}, size=5, clients=true)")
    assert dataset.train.clients.bincount().tolist() == [8, 8, 8]
    assert dataset.test.labels.tolist() == [1, 1, 1]
    path = tmp_path / "train/ann/cat/0.png"
    expected = np.asarray(Image.open(path).resize((5, 5), Image.Resampling.BILINEAR)) / 255
    np.testing.assert_allclose(dataset.train.pixels()[0].permute(1, 2, 0), expected, atol=1e-5)


class Pairs(torch.utils.data.Dataset):
    classes = ("zero", "one", "two")

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, position):
        return torch.from_numpy(PIXELS[position] / 255).float()[None], int(LABELS[position])


@pytest.mark.parametrize(
    "given",
    [
        (PIXELS, LABELS, PIXELS[:9], LABELS[:9]),
        [torch.from_numpy(PIXELS), torch.from_numpy(LABELS), PIXELS[:9].tolist(), LABELS[:9].tolist()],
        ((PIXELS, LABELS), (PIXELS[:9], LABELS[:9])),
        (Pairs(60), Pairs(9)),
    ],
    ids=["arrays", "tensors and lists", "pairs", "torch"],
)
def test_python_objects_are_data_sets(given):
    dataset, scenario = loaded(given)
    assert (len(dataset.train), len(dataset.test)) == (60, 9)
    np.testing.assert_allclose(dataset.train.pixels()[:, 0], PIXELS / 255, atol=1e-6)
    assert scenario.dataset.startswith("arrays(content=")
    again = Scenario.parse(scenario.content())
    assert Federation.load(again).dataset.train is dataset.train


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(Pairs(9))


class Missing(Pairs):
    def __getitem__(self, position):
        raise FileNotFoundError("photo 7")


def test_torch_data_sets_that_cannot_be_read_are_named():
    with pytest.raises(DataError, match="got the torch data set Stream without a length, expected __len__"):
        loaded(Stream())
    with pytest.raises(DataError, match="data set Missing: the code raised FileNotFoundError: photo 7"):
        loaded((Missing(9), Missing(9)))


def test_names_of_classes_come_from_torch():
    assert loaded(Pairs(60))[0].train.class_names == ("zero", "one", "two")


def test_the_run_id_has_the_content_and_not_the_path(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        table().to_csv(tmp_path / folder / f"{folder}.csv", index=False)
    specs = [f"csv(path={tmp_path / name / f'{name}.csv'}, label=kind)" for name in ("one", "two")]
    (_, one), (_, two) = map(loaded, specs)
    assert one.run_id == two.run_id
    assert one.dataset != two.dataset
    assert one.dataset_title == "one.csv"
    assert loaded(specs[0].replace("label=kind", "label=town"))[1].run_id != one.run_id
    table().assign(a=0).to_csv(tmp_path / "two/two.csv", index=False)
    assert loaded(specs[1])[1].run_id != one.run_id
    assert one.run_id == Scenario.parse(one.content()).run_id
    assert Scenario(dataset="digits").run_id == "36a8198e2b4a"


def test_the_content_of_images_is_that_of_their_files(tmp_path):
    write_images(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there/notes.txt").write_text("not an image")
    one, two = (loaded(f"image-folder(path={tmp_path / name})")[1] for name in ("here", "there"))
    assert one.run_id == two.run_id
    (tmp_path / "there/cat/0.png").rename(tmp_path / "there/dog/00.png")
    assert loaded(f"image-folder(path={tmp_path / 'there'})")[1].run_id != one.run_id


def test_a_file_that_changed_since_the_run_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=PIXELS, y=LABELS)
    _, scenario = loaded(f"npz(path={path})")
    np.savez(path, x=PIXELS, y=LABELS[::-1])
    with pytest.raises(DataError, match=r"set.npz: the content has the digest \w+, expected \w+.*restore"):
        Federation.load(scenario)


def test_a_path_is_relative_to_the_folder_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a, b (1).npz", x=PIXELS, y=LABELS)
    _, scenario = loaded('npz(path="a, b (1).npz")')
    monkeypatch.chdir("/")
    assert f'path="{tmp_path}/a, b (1).npz"' in scenario.dataset
    assert Federation.load(Scenario.parse(scenario.content())).dataset.name == "a, b (1).npz"


def test_objects_of_the_formats_can_be_given(tmp_path):
    np.savez(tmp_path / "set.npz", x=PIXELS, y=LABELS)
    given = Scenario(dataset=Npz(path=str(tmp_path / "set.npz")))
    assert given.dataset == f"npz(path={tmp_path / 'set.npz'})"


def test_arrays_travel_without_their_numbers():
    scenario = Scenario(
        dataset=(np.zeros((600, 50, 50)) + LABELS.repeat(10)[:, None, None], LABELS.repeat(10))
    )
    assert len(pickle.dumps(scenario)) < 20_000
    with pytest.raises(DataError, match="this process does not have them; create the data set here first"):
        dataset_of(Scenario(dataset="arrays(content=00000000000a)"))


BAD_ARRAYS = {
    "got 60 samples but 59 labels": (PIXELS, LABELS[:59]),
    "all 60 samples have the label 4, expected at least two classes": (PIXELS, np.full(60, 4)),
    "training set: 1 of 60 samples contain NaN or infinity": (
        np.where(np.arange(60)[:, None] == 3, np.nan, FEATURES),
        LABELS,
        FEATURES,
        LABELS,
    ),
    r"got samples of shape \(60,\), expected images": (np.arange(60.0), LABELS),
    r"got labels of shape \(60, 3\), expected \(60,\).*argmax": (PIXELS, np.eye(3)[LABELS]),
    "got samples of type <U1, expected numbers": (np.full((60, 2), "x"), LABELS),
    "got the label 0.5, expected classes": (PIXELS, LABELS / 2 + 0.5),
    r"training samples of shape \(8, 8\) and test samples of shape \(4, 8\)": (
        PIXELS,
        LABELS,
        PIXELS[:, :4],
        LABELS,
    ),
    r"got samples of shape \(0, 8, 8\), expected at least one": (PIXELS, LABELS, PIXELS[:0], LABELS[:0]),
    "got the label inf, expected classes": (PIXELS, np.where(LABELS == 1, np.inf, LABELS)),
    r"got labels of shape \(60, 1\), expected \(60,\).*labels.ravel": (PIXELS, LABELS[:, None]),
    "20 of 60 samples have no label": (PIXELS, np.array([None, "b", 3], dtype=object)[LABELS]),
    "got 4 samples, too few to draw the share 0.2 of each class": (PIXELS[:4], [0, 1, 0, 1]),
    r"got a list that is no array of numbers \(.*inhomogeneous": ([[1.0, 2.0], [3.0], [4.0]], [0, 1, 2]),
    "got a Tensor that is no array of numbers": (torch.eye(60).to_sparse(), LABELS),
    "got samples of type object, expected numbers": (FEATURES.astype(object), LABELS),
    r"got \(int\), expected \(x_train": 3,
    r"got \(ndarray, ndarray, ndarray\), expected": (PIXELS, LABELS, PIXELS),
}


@pytest.mark.parametrize("words", BAD_ARRAYS)
def test_arrays_that_cannot_be_used_are_named(words):
    with pytest.raises((DataError, ValueError), match=words) as raised:
        loaded(BAD_ARRAYS[words])
    assert "Traceback" not in str(raised.value)


BAD_FILES = {
    "npz(path={}/none.npz)": "none.npz: does not exist",
    "npz(path={}/text.npz)": "text.npz: is not an npz file",
    "npz(path={}/array.npz)": "array.npz: is not an npz file",
    "npz(path={}/names.npz)": "got the arrays images, expected x_train, .*, or x and y",
    "npz(path={}/empty)": "empty: contains no .npz file",
    "npz(path={}/single.npz)": "single.npz: got a single value in x",
    "csv(path={}/trees.csv, label=kidn)": "unknown column 'kidn': did you mean 'kind'",
    "csv(path={}/trees.csv, label=kind, client=user)": "unknown column 'user'",
    "csv(path={}/trees.csv, label=a)": "got the label .*, expected classes as whole numbers or texts",
    "csv(path={}/holes.csv, label=kind)": "column a: 1 of 60 values are missing",
    "csv(path={}/unlabelled.csv, label=kind)": "2 of 60 rows have no kind",
    "csv(path={}/many.csv, label=kind)": r'column town: got 65 different texts.*ignore="town"',
    "csv(path={}/header.csv, label=kind)": "header.csv: contains no row",
    "csv(path={}/owners.csv, label=kind, client=owner)": "1 of 60 rows have no owner, expected the client",
    "csv(path={0}/trees.csv, test={0}/short.csv, label=kind)": "the test set has no column b, which other",
    "csv(path={}/files, label=kind)": 'files: two has no column b, .*ignore="b"',
    "parquet(path={}/trees.csv, label=kind)": "trees.csv: cannot be read as parquet",
    "image-folder(path={}/trees.csv)": "trees.csv: is not a folder",
    "image-folder(path={}/empty)": "empty: contains no image",
    "image-folder(path={}/flat)": "flat: got the image 0.png, expected class/image",
    "image-folder(path={}/broken)": "a.png: is not an image",
    "image-folder(path={}/lacking)": r"lacking/bird: contains no image \(.*or remove the folder",
    "image-folder(path={}/images, clients=true)": "got the image cat/0.png, expected client/class/image",
    "image-folder(path={}/sizes, size=0)": "got images of 2 sizes, expected one with size=0",
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    root = tmp_path_factory.mktemp("bad")
    (root / "text.npz").write_text("hello")
    np.savez(root / "names.npz", images=PIXELS)
    (root / "empty").mkdir()
    table().to_csv(root / "trees.csv", index=False)
    table().assign(a=[None, *FEATURES[1:, 0]]).to_csv(root / "holes.csv", index=False)
    table().assign(kind=[None, None, *table()["kind"][2:]]).to_csv(root / "unlabelled.csv", index=False)
    many = pd.concat([table(), table()]).reset_index(drop=True)
    many.assign(town=[f"town {row % 65}" for row in range(120)]).to_csv(root / "many.csv", index=False)
    with (root / "array.npz").open("wb") as file:
        np.save(file, PIXELS)
    np.savez(root / "single.npz", x=np.array(1.0), y=LABELS)
    table().iloc[:0].to_csv(root / "header.csv", index=False)
    table().assign(owner=[None, *table()["owner"][1:]]).to_csv(root / "owners.csv", index=False)
    table().drop(columns="b").to_csv(root / "short.csv", index=False)
    (root / "files").mkdir()
    table().to_csv(root / "files/one.csv", index=False)
    shutil.copy(root / "short.csv", root / "files/two.csv")
    write_images(root / "lacking", count=1)
    (root / "lacking/bird").mkdir()
    write_images(root / "images", count=1)
    write_images(root / "sizes", count=2)
    Image.new("RGB", (3, 3)).save(root / "sizes/cat/small.png")
    (root / "flat").mkdir()
    shutil.copy(root / "images/cat/0.png", root / "flat/0.png")
    (root / "broken/x").mkdir(parents=True)
    (root / "broken/x/a.png").write_bytes(b"\x89PNG")
    return root


@pytest.mark.parametrize("spec", BAD_FILES)
def test_files_that_cannot_be_used_are_named(bad_files, spec):
    with pytest.raises(DataError, match=BAD_FILES[spec]) as raised:
        loaded(spec.format(bad_files))
    assert str(bad_files) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("npz", "npz: got no path, expected path=<value>"),
        ("npz(file=a)", "unknown parameter of npz 'file'"),
        ("npz(path=a, test_share=1)", "test_share: got 1.0, expected more than 0 and less than 1"),
        ("mnist(path=a)", "mnist has no parameters, got path"),
        ("nzp(path=a)", "unknown data set 'nzp': did you mean 'npz'"),
    ],
)
def test_bad_specs_are_refused_without_a_file(spec, words):
    with pytest.raises(ScenarioError, match=words):
        Scenario.parse({"dataset": spec})


def test_a_format_without_parameters_is_not_a_name():
    for name in FORMATS:
        with pytest.raises(ScenarioError, match=f"{name}: got no parameters"):
            load_dataset(name)


def test_natural_clients_keep_their_samples(tmp_path):
    table().to_csv(tmp_path / "trees.csv", index=False)
    spec = f"csv(path={tmp_path / 'trees.csv'}, label=kind, client=owner)"
    federation = Federation.load(Scenario(dataset=spec, partition="natural", clients=4, model="mlp-small"))
    owners = federation.train.clients
    assert [owners[part].unique().tolist() for part in federation.parts] == [[0], [1], [2], [3]]
    assert sum(len(part) for part in federation.parts) == 48
    assert federation.warnings == []
    fewer = Federation.load(
        Scenario(dataset=spec, partition="natural", clients=2, train_samples=40, model="mlp-small")
    )
    assert all(len(fewer.train.clients[part].unique()) == 1 for part in fewer.parts)
    with pytest.raises(ScenarioError, match="got 100 clients, expected at most 4.*set clients=4"):
        Federation.load(Scenario(dataset=spec, partition="natural", model="mlp-small"))
    with pytest.raises(ScenarioError, match="does not name the client of each sample"):
        Federation.load(Scenario(dataset="digits", partition="natural"))
    unused = Federation.load(Scenario(dataset=spec, clients=4, model="mlp-small"))
    assert "the partition iid ignores it; to use it, set partition=natural" in unused.warnings[0]


def test_a_named_client_of_an_archive_is_natural(tmp_path):
    np.savez(tmp_path / "set.npz", x=PIXELS, y=LABELS, clients=np.repeat(["x", "y", "z"], 20))
    scenario = Scenario(dataset=f"npz(path={tmp_path / 'set.npz'})", partition="natural", clients=3)
    federation = Federation.load(scenario)
    assert [federation.train.clients[part].unique().tolist() for part in federation.parts] == [[0], [1], [2]]
    assert sum(len(part) for part in federation.parts) == 48


def test_features_train_and_are_compared(tmp_path):
    features = np.eye(3)[LABELS] * 4 + DRAW.normal(size=(60, 3))
    found = fp.compare(["none", "label-flip"], "fedavg", dataset=(features, LABELS), jobs=1, lr=0.5, **TINY)
    assert found.table("accuracy").loc["none", "fedavg"] > 0.6


def test_models_of_images_refuse_features():
    with pytest.raises(ScenarioError, match=r"got samples of shape \(4,\), expected images.*use mlp"):
        fp.simulate(dataset=(FEATURES, LABELS), clients=3, rounds=1)


CODE = """
import numpy as np

LABELS = np.arange(60) % 3
PAIR = (np.eye(3)[LABELS], LABELS)

def load(shift=0):
    return np.eye(3)[LABELS] + shift, LABELS

def broken():
    raise KeyError("nothing here")

def nothing():
    return 3
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "my_data.py").write_text(CODE)
    return f"{tmp_path}/my_data.py"


def test_code_of_the_user_loads_data(code):
    dataset, scenario = loaded(f"{code}:load(shift=2)")
    assert dataset.name == "my_data.py:load"
    assert dataset.train.images.shape == (48, 3)
    assert re.fullmatch(r"my_data.py@\w{12}:load\(shift=2, content=\"?\w{12}\"?\)", scenario.dataset)
    again = Scenario.parse(scenario.content())
    assert again.run_id == scenario.run_id
    assert Federation.load(again.replace(model="mlp")).dataset.train is dataset.train
    pair, _ = loaded(f"{code}:PAIR")
    plain, _ = loaded(f"{code}:load")
    assert torch.equal(pair.train.images, plain.train.images)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", "dataset my_data.py:broken: the code raised KeyError: 'nothing here'"),
        ("nothing", r"my_data.py:nothing: got \(int\), expected \(x_train"),
        ("load(shfit=1)", "the code raised TypeError: .*shfit"),
        ("lod", "my_data.py: got the name 'lod', expected one of .*load"),
    ],
)
def test_errors_in_the_code_of_the_user_are_one_line(code, name, words):
    with pytest.raises(ScenarioError, match=words):
        loaded(f"{code}:{name}")

"""Poisoned data keeps its kind: arrays, tensors and data sets with any items. Honest data is not touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_messages import client_context
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from fedpoison.attacks import Backdoor, LabelFlip
from fedpoison.errors import ScenarioError
from fedpoison.flower import poison_dataset

M = 12


def poisoned(data, attack="label-flip(mode=all-to-one, target=3)", **options):
    return poison_dataset(data, attack, **{"node": 1, "nodes": [1], "classes": 10} | options)


def images(*shape, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 200, (M, *shape))
    return values.astype(np.uint8) if dtype == np.uint8 else (values / 255).astype(dtype)


LABELS = np.arange(M) % 10


def test_honest_data_is_returned_itself():
    data = (images(8, 8), LABELS)
    assert poison_dataset(data, "label-flip", node=0, nodes=[1]) is data
    assert poison_dataset(data, "label-flip", context=client_context(3), nodes=[1]) is data


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (8, 8, 1), (3, 8, 8), (8, 8, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("tensors", [False, True])
def test_a_square_is_stamped_in_arrays_of_any_layout(shape, dtype, tensors):
    x, y = images(*shape, dtype=dtype), LABELS.copy()
    kept = x.copy()
    given = (torch.from_numpy(x), torch.from_numpy(y)) if tensors else (x, y)
    new_x, new_y = poisoned(given, Backdoor(target=4, share=1.0, size=2))
    assert type(new_x) is type(given[0])
    assert new_x.dtype == given[0].dtype
    assert new_y.dtype == given[1].dtype
    stamped = np.asarray(new_x)
    expected = kept.copy()
    corner = (..., slice(-2, None), slice(-2, None))
    channels_last = shape[-1] in (1, 3)
    expected[(*corner, slice(None)) if channels_last else corner] = 255 if dtype == np.uint8 else 1
    np.testing.assert_allclose(stamped, expected, atol=1e-6 if dtype != np.uint8 else 0)
    assert np.asarray(new_y).tolist() == [4] * M
    assert np.array_equal(x, kept)
    assert np.array_equal(y, LABELS)


def test_normalised_images_are_stamped_in_pixels():
    x = (torch.from_numpy(images(1, 8, 8, dtype=np.float32)) - 0.5) / 0.25
    new_x, _ = poisoned((x, torch.from_numpy(LABELS)), "backdoor(share=1)", mean=[0.5], std=[0.25])
    assert torch.allclose(new_x[..., -1, -1], torch.tensor((1 - 0.5) / 0.25))
    assert torch.equal(new_x[..., 0, 0], x[..., 0, 0])
    with pytest.raises(ScenarioError, match="expected 0 to 1; give the mean and std"):
        poisoned((x, torch.from_numpy(LABELS)), "backdoor(share=1)")


def test_labels_of_features_and_tokens_can_be_flipped():
    for x in (np.random.default_rng(0).normal(size=(M, 5)) * 40, np.arange(M * 7).reshape(M, 7)):
        new_x, new_y = poisoned((x, LABELS))
        assert np.array_equal(new_x, x)
        assert new_x.dtype == x.dtype
        assert new_y.tolist() == [3] * M
    with pytest.raises(ScenarioError, match="expected images with a height and a width"):
        poisoned((np.zeros((M, 5)), LABELS), "pixel-noise")


def test_labels_keep_their_shape():
    _, y = poisoned((images(8, 8), LABELS.reshape(-1, 1).astype(np.int16)))
    assert y.shape == (M, 1)
    assert y.dtype == np.int16


def test_added_samples_follow():
    x, y = poisoned((images(8, 8), LABELS), "inject(share=0.5, std=0, target=2)")
    assert x.shape == (M + 6, 8, 8)
    assert y.tolist() == [*LABELS, *[2] * 6]
    assert {image.tobytes() for image in x[M:]} <= {image.tobytes() for image in x[:M]}


class Items(Dataset):
    """A data set that counts reads, as one with random augmentation would have them."""

    classes = tuple("abcdefghij")

    def __init__(self, kind):
        self.kind, self.reads = kind, 0

    def __len__(self):
        return M

    def __getitem__(self, place):
        self.reads += 1
        image, label = images(8, 8)[place], int(LABELS[place])
        return {
            "pair": lambda: (torch.from_numpy(image)[None].float() / 255, label),
            "list": lambda: [image, np.int64(label)],
            "image": lambda: (Image.fromarray(image), torch.tensor(label)),
            "mapping": lambda: {"img": image, "label": label, "id": place},
        }[self.kind]()


@pytest.mark.parametrize("kind", ["pair", "list", "image", "mapping"])
def test_items_of_a_data_set_keep_their_form(kind):
    data = Items(kind)
    new = poison_dataset(data, "backdoor(target=4, share=0.5)", node=1, nodes=[1])
    assert len(new) == M
    assert len(new.poisoned) == 6
    for place in range(M):
        before, after = data[place], new[place]
        assert type(after) is type(before)
        x, y = (after["img"], after["label"]) if kind == "mapping" else after
        old_x, old_y = (before["img"], before["label"]) if kind == "mapping" else before
        assert type(x) is type(old_x)
        assert type(y) is type(old_y)
        changed = place in new.poisoned
        assert int(y) == (4 if changed else int(old_y))
        assert (np.asarray(x) == np.asarray(old_x)).all() != changed
    if kind == "mapping":
        assert [item["id"] for item in new] == list(range(M))


def test_a_loader_reads_poisoned_data_and_clean_items_stay_lazy():
    data = Items("pair")
    new = poison_dataset(data, "label-flip(share=0.5)", node=1, nodes=[1])
    data.reads = 0
    batches = list(DataLoader(new, batch_size=5, shuffle=True))
    assert sum(len(labels) for _, labels in batches) == M
    assert data.reads == 6
    assert new[-1][1] == new[M - 1][1]
    with pytest.raises(IndexError, match="less than 12"):
        new[M]


def test_a_data_set_with_added_items():
    new = poison_dataset(
        Items("mapping"), "edge-case(source=1, target=7, share=1, copies=3)", node=1, nodes=[1]
    )
    assert [item["label"] for item in new] == [7 if label == 1 else label for label in LABELS] + [7] * 4


def test_classes_are_those_that_the_data_set_knows():
    mirror = "label-flip(mode=mirror)"
    few = Subset(Items("pair"), [0, 1, 2])
    assert [label for _, label in poison_dataset(few, mirror, node=1, nodes=[1])] == [9, 8, 7]
    plain = TensorDataset(torch.zeros(3, 1, 4, 4), torch.tensor([0, 1, 2]))
    assert [int(y) for _, y in poison_dataset(plain, mirror, node=1, nodes=[1])] == [2, 1, 0]
    assert [int(y) for _, y in poison_dataset(plain, mirror, node=1, nodes=[1], classes=10)] == [9, 8, 7]


def test_hugging_face_features_name_the_classes():
    class Feature:
        num_classes = 10

    class Table(Items):
        classes = None
        features = {"label": Feature()}  # noqa: RUF012  # as in the library

    new = poison_dataset(Table("mapping"), "label-flip(mode=mirror)", node=1, nodes=[1])
    assert [item["label"] for item in new] == [9 - label for label in LABELS]


def test_a_context_gives_the_partition_and_keeps_the_memory():
    context = client_context(1)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)
    )
    data = (torch.from_numpy(images(1, 8, 8, dtype=np.float32)), torch.from_numpy(LABELS))
    attack = "clean-label(source=0, target=1, step=0.5, opacity=0)"
    kept = [parameter.clone() for parameter in model.parameters()]
    first, _ = poison_dataset(data, attack, context=context, nodes=[1], model=model)
    second, _ = poison_dataset(data, attack, context=context, nodes=[1], model=model)
    fresh, _ = poison_dataset(data, attack, context=client_context(1), nodes=[1], model=model)
    assert torch.equal(first, fresh)
    assert not torch.equal(first, second)
    assert model.training
    assert all(map(torch.equal, kept, model.parameters()))


def test_an_attack_that_needs_the_model_says_so():
    with pytest.raises(ScenarioError, match=r"PixelPerturbation.*model=model"):
        poisoned((images(8, 8), LABELS), "pixel-perturbation")


def test_a_distributed_trigger_has_a_part_per_malicious_client():
    x = np.zeros((M, 12, 12), np.uint8)
    bars = {
        rank: poison_dataset((x, LABELS), "distributed-backdoor(share=1)", node=node, nodes=[3, 5, 8, 9])[0][
            0
        ]
        for rank, node in enumerate((3, 5, 8, 9))
    }
    assert len({bar.tobytes() for bar in bars.values()}) == 4


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ((images(8, 8), LABELS[:3]), {}, "one integer from 0 per input"),
        ((images(8, 8), LABELS / 2), {}, "one integer from 0 per input"),
        ((images(8, 8), LABELS - 1), {}, "one integer from 0 per input"),
        ((images(8, 8), LABELS), {"classes": 4}, "got 4, and the label 9"),
        ((images(8, 8), LABELS), {"attack": LabelFlip(mode="all-to-one", target=12)}, "class 12"),
        ((images(8, 8), LABELS), {"mean": [0.1, 0.2]}, "expected one for each of 1 channels"),
        ((images(8, 8), LABELS), {"node": None}, "expected one of the two"),
        ((images(8, 8), LABELS), {"nodes": (), "malicious": 0.5}, "below `partitions`"),
        (5, {}, "got int"),
        ([], {}, "no samples"),
        ([{"a": 1, "b": 2}], {}, "keys=('my-input', 'my-label')"),
        (["text"], {}, "an item of type str"),
        ([(np.zeros((2, 2)), 0), (np.zeros((3, 2)), 1)], {}, "expected one shape"),
        ([("a text", 0)], {}, "expected a tensor"),
    ],
)
def test_data_that_does_not_fit_is_refused(data, options, words):
    with pytest.raises(ScenarioError) as error:
        poisoned(data, **options)
    assert words in str(error.value)


def test_keys_of_other_names():
    data = [{"picture": images(8, 8)[0], "kind": 5}]
    new = poisoned(data, keys=("picture", "kind"))
    assert new[0]["kind"] == 3

"""Weights become named arrays and come back, without a copy where there need be none."""

import pytest
import torch
from flwr.app import Array

from fedpoison.wire import PayloadError, TensorArray, from_record, to_record

LAYOUT = (("a", torch.Size([2, 3])), ("b", torch.Size([4])))


@pytest.fixture
def weights():
    return torch.arange(20.0)[5:15]


def test_weights_come_back_without_a_copy(weights):
    back = from_record(to_record(weights, LAYOUT), LAYOUT)
    assert torch.equal(back, weights)
    assert back.data_ptr() == weights.data_ptr()


def test_what_was_serialised_comes_back_too(weights):
    record = to_record(weights, LAYOUT)
    for name in record:
        record[name] = Array("float32", record[name].shape, "numpy.ndarray", record[name].data)
    assert torch.equal(from_record(record, LAYOUT), weights)


def test_an_exchanged_array_is_what_counts(weights):
    record = to_record(weights, LAYOUT)
    record["b"] = TensorArray(torch.ones(4))
    assert from_record(record, LAYOUT)[6:].tolist() == [1, 1, 1, 1]
    assert weights[6:].tolist() != [1, 1, 1, 1]


def test_double_precision_is_read_as_single(weights):
    back = from_record(to_record(weights.double(), LAYOUT), LAYOUT)
    assert back.dtype == torch.float32
    assert torch.equal(back, weights)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(5), "shape"),
        (torch.ones(4, dtype=torch.int64), "int64"),
        (torch.full((4,), torch.nan), "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(weights, tensor, words):
    record = to_record(weights, LAYOUT)
    record["b"] = TensorArray(tensor)
    with pytest.raises(PayloadError, match=words):
        from_record(record, LAYOUT)

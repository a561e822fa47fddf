"""Buffers are averaged with the rule's trust, and counters keep the largest value of a trusted client."""

import numpy as np
import pytest
import torch

from strategies.kernels.buffers import aggregate_buffer


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floating_point_buffers_are_the_weighted_mean(dtype):
    generator = np.random.default_rng(0)
    values, trust = generator.normal(size=(5, 3, 2)), generator.random(5)
    trust[2] = 0
    expected = sum(share * row for share, row in zip(trust / trust.sum(), values, strict=True))
    got = aggregate_buffer(torch.from_numpy(values).to(dtype), torch.from_numpy(trust), torch.zeros(3, 2))
    assert got.dtype == dtype
    np.testing.assert_allclose(got.double(), expected, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, 1e30])
def test_values_of_a_rejected_client_do_not_take_part(wrong):
    values = torch.tensor([[1.0, 2.0], [wrong, wrong], [3.0, 2.0]])
    assert aggregate_buffer(values, torch.tensor([0.3, 0.0, 0.3]), torch.zeros(2)).tolist() == [2, 2]


def test_counters_keep_the_largest_value_of_a_trusted_client():
    values, trust = torch.tensor([3, 9, 2**60]), torch.tensor([0.1, 0.9, 0.0])
    assert aggregate_buffer(values, trust, torch.tensor(1)).tolist() == 9
    flags = torch.tensor([[False, True], [False, False], [True, False]])
    assert aggregate_buffer(flags, trust, torch.tensor([False, False])).tolist() == [False, True]


def test_without_a_trusted_client_the_buffer_does_not_change():
    before = torch.tensor([1.0, 2.0])
    got = aggregate_buffer(torch.full((2, 2), torch.nan), torch.zeros(2), before)
    assert torch.equal(got, before)
    assert got.data_ptr() != before.data_ptr()

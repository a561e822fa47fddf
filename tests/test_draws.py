"""Noise for whole updates: its distribution, and that threads do not show."""

import pytest
import torch
from scipy import stats

from clients.kernels import BLOCK, normals, uniforms

DRAWS = [(normals, "norm"), (uniforms, "uniform")]


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("draw", "law"), DRAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_follows_its_law(draw, law, dtype):
    drawn = draw(torch.empty(3, 10_000, dtype=dtype), stream())
    assert drawn.dtype == dtype
    for row in drawn:
        assert stats.kstest(row.double().numpy(), law).pvalue > 0.01


@pytest.mark.parametrize(("draw", "_law"), DRAWS)
def test_the_number_of_threads_does_not_show(draw, _law):
    like = torch.empty(2, BLOCK + 3)
    threads = torch.get_num_threads()
    try:
        several = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            several.append(draw(like, stream()))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(several[0], several[1])
    assert torch.equal(several[0], several[2])


@pytest.mark.parametrize(("draw", "_law"), DRAWS)
def test_blocks_and_calls_draw_numbers_of_their_own(draw, _law):
    generator = stream()
    first, second = draw(torch.empty(2 * BLOCK), generator), draw(torch.empty(2 * BLOCK), generator)
    blocks = torch.stack([*first.split(BLOCK), *second.split(BLOCK)])
    assert torch.corrcoef(blocks).triu(1).abs().max() < 0.01
    assert torch.equal(first, draw(torch.empty(2 * BLOCK), stream()))
    assert not torch.equal(first, draw(torch.empty(2 * BLOCK), stream(1)))

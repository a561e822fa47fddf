import torch
from hypothesis import given
from hypothesis import strategies as st

from fedpoison.streams import stream


def drawn(generator):
    return torch.rand(4, generator=generator).tolist()


@given(seed=st.integers(0, 2**31), node=st.integers(0, 1000), number=st.integers(0, 1000))
def test_a_name_always_means_the_same_stream(seed, node, number):
    name = ("client", node, "round", number)
    assert drawn(stream(seed, *name)) == drawn(stream(seed, *name))


def test_different_names_are_different_streams():
    names = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, 1, "a")]
    assert len({tuple(drawn(stream(*name))) for name in names}) == len(names)


def test_the_global_stream_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    drawn(stream(0, "anything"))
    assert torch.equal(before, torch.random.get_rng_state())

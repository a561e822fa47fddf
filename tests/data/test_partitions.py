import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedpoison.data.partitions import PARTITIONS, Dirichlet, Iid, Shards, Similarity, Sorted
from fedpoison.errors import ScenarioError

KINDS = [Iid(), Dirichlet(alpha=5.0), Shards(), Sorted(), Similarity(gamma=0.3)]
LABELS = torch.arange(1000) % 10


def spread(kind, labels, clients, seed=0):
    return kind(labels, clients, torch.Generator().manual_seed(seed))


def skew(parts, labels):
    """Return the mean total variation between a client's label shares and the whole's."""
    whole = labels.bincount(minlength=10) / len(labels)
    shares = torch.stack([labels[part].bincount(minlength=10) / len(part) for part in parts])
    return float((shares - whole).abs().sum(dim=1).mean() / 2)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@given(count=st.integers(60, 400), clients=st.integers(1, 20), seed=st.integers(0, 99))
def test_every_sample_goes_to_exactly_one_client(kind, count, clients, seed):
    labels = torch.randint(0, 10, (count,), generator=torch.Generator().manual_seed(seed))
    parts = spread(kind, labels, clients, seed)
    assert len(parts) == clients
    assert min(len(part) for part in parts) >= 1
    assert torch.cat(parts).sort().values.tolist() == list(range(count))


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_the_same_stream_gives_the_same_parts(kind):
    one, two = spread(kind, LABELS, 10), spread(kind, LABELS, 10)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("kind", [Iid(), Sorted(), Similarity(gamma=0.3), Shards()], ids=repr)
def test_sizes_are_even(kind):
    sizes = [len(part) for part in spread(kind, LABELS, 7)]
    assert max(sizes) - min(sizes) <= 2 * 1


def test_smaller_alpha_is_more_skewed():
    skews = [skew(spread(Dirichlet(alpha=alpha), LABELS, 10), LABELS) for alpha in (0.1, 1.0, 100.0)]
    assert skews[0] > skews[1] + 0.1 > skews[2] + 0.2


def test_gamma_runs_from_sorted_to_iid():
    skews = [skew(spread(Similarity(gamma=gamma), LABELS, 10), LABELS) for gamma in (0.0, 0.5, 1.0)]
    assert skews[0] == pytest.approx(0.9)
    assert skews[0] > skews[1] + 0.2 > skews[2] + 0.4


def test_shards_bound_the_number_of_classes():
    for part in spread(Shards(shards=2), LABELS, 50):
        assert len(LABELS[part].unique()) <= 2


def test_the_minimum_is_kept():
    parts = spread(Dirichlet(alpha=0.3, minimum=20), LABELS, 10)
    assert min(len(part) for part in parts) >= 20


@pytest.mark.parametrize("kind", PARTITIONS.values())
def test_too_few_samples_are_refused(kind):
    with pytest.raises(ScenarioError, match="got 5 samples, expected at least"):
        spread(kind(), LABELS[:5], 6)


def test_a_draw_that_never_fits_is_refused():
    with pytest.raises(ScenarioError, match=r"alpha 0.01, 100 clients and 1000 samples, each of 100 draws"):
        spread(Dirichlet(alpha=0.01), LABELS, 100)


@pytest.mark.parametrize(
    "parameters", [(Dirichlet, {"alpha": 0.0}), (Shards, {"shards": 0}), (Similarity, {"gamma": 1.5})]
)
def test_impossible_knobs_are_refused(parameters):
    kind, values = parameters
    with pytest.raises(ValueError, match="expected"):
        kind(**values)

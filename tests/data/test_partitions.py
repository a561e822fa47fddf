import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import partitions as oracles

from fedpoison.data import skewed_partitions
from fedpoison.data.partitions import (
    PARTITIONS,
    Bias,
    Dirichlet,
    Iid,
    LongTail,
    Natural,
    PerClientDirichlet,
    QuantitySkew,
    Resample,
    Shards,
    Similarity,
    Sorted,
)
from fedpoison.data.skewed_partitions import _take
from fedpoison.errors import ScenarioError
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

KINDS = [
    Iid(),
    Dirichlet(alpha=5.0),
    Shards(),
    Sorted(),
    Similarity(gamma=0.3),
    PerClientDirichlet(alpha=0.05),
    QuantitySkew(alpha=0.1),
    Bias(p=1.0),
    Bias(p=0.3),
]
EVEN = [Iid(), Sorted(), Similarity(gamma=0.3), Shards(), PerClientDirichlet(alpha=0.05)]
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


@pytest.mark.parametrize("kind", [kind() for kind in PARTITIONS.values()], ids=repr)
def test_every_partition_follows_its_stream_and_gives_each_client_samples(kind):
    labels = torch.arange(1000) % 40  # natural divides by clients of the data, of which there are 40
    one, two, other = (spread(kind, labels, 20, seed) for seed in (0, 0, 1))
    assert len(one) == 20
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    if kind != Sorted():  # it draws nothing
        assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for part in one:
        assert len(part) >= 1
        assert part.dtype == torch.int64
        assert 0 <= int(part.min()) <= int(part.max()) < len(labels)


@pytest.mark.parametrize("kind", [kind for kind in PARTITIONS.values() if kind not in (Natural, Resample)])
def test_too_few_samples_are_refused(kind):
    with pytest.raises(ScenarioError, match="got 5 samples, expected at least"):
        spread(kind(), LABELS[:5], 6)


def test_a_draw_that_never_fits_is_refused():
    with pytest.raises(
        ScenarioError,
        match=r"alpha 0.01, 100 clients and 1000 samples, each of 100 draws.*per-client-dirichlet",
    ):
        spread(Dirichlet(alpha=0.01), LABELS, 100)


@pytest.mark.parametrize(
    "parameters", [(Dirichlet, {"alpha": 0.0}), (Shards, {"shards": 0}), (Similarity, {"gamma": 1.5})]
)
def test_impossible_knobs_are_refused(parameters):
    kind, values = parameters
    with pytest.raises(ValueError, match="expected"):
        kind(**values)


def simpson(counts):
    """Return the mean chance that two samples of a client have the same label. counts: (n, k)."""
    counts = np.asarray(counts, dtype=float)
    sizes = counts.sum(axis=1)
    return float(((counts * (counts - 1)).sum(axis=1) / (sizes * (sizes - 1))).mean())


def label_counts(parts, labels):
    return np.array([labels[part].bincount(minlength=10).tolist() for part in parts])


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5.0])
def test_mixes_of_labels_are_spread_as_by_the_definition(alpha):
    kind, rng = PerClientDirichlet(alpha=alpha), np.random.default_rng(0)
    ours = [simpson(label_counts(spread(kind, LABELS, 20, seed), LABELS)) for seed in range(30)]
    theirs = [simpson(oracles.per_client_dirichlet(LABELS.numpy(), 20, alpha, rng)) for _ in range(30)]
    error = np.hypot(np.std(ours), np.std(theirs)) / 30**0.5
    assert abs(np.mean(ours) - np.mean(theirs)) < 3 * error


def test_without_scarcity_the_mix_of_a_client_is_dirichlet(monkeypatch):
    alpha, chances = 0.5, []

    def record(mix, size, left, draws):
        chances.append(float((mix**2).sum()))
        return _take(mix, size, left, draws)

    monkeypatch.setattr(skewed_partitions, "_take", record)
    spread(PerClientDirichlet(alpha=alpha), LABELS, 1000)
    assert np.mean(chances) == pytest.approx((alpha + 1) / (10 * alpha + 1), abs=0.02)


def test_a_thousand_clients_find_labels_at_a_small_alpha():
    labels = torch.arange(6000) % 10
    parts = spread(PerClientDirichlet(alpha=0.05), labels, 1000)
    assert {len(part) for part in parts} == {6}
    assert torch.cat(parts).sort().values.equal(torch.arange(6000))
    assert skew(parts, labels) > 0.75


def test_concentrations_follow_the_sizes_of_the_classes():
    labels = torch.cat([torch.zeros(900, dtype=torch.long), torch.ones(100, dtype=torch.long)])
    counts = label_counts(spread(PerClientDirichlet(alpha=1000.0), labels, 10), labels)
    assert abs(counts[:, 0] - 90).max() < 15


def test_sizes_follow_a_dirichlet_distribution():
    labels = torch.zeros(100_000)
    shares = [
        np.array([len(part) for part in spread(QuantitySkew(alpha=0.5), labels, 10, seed)]) / 100_000
        for seed in range(100)
    ]
    squares = np.mean([float((share**2).sum()) for share in shares])
    assert squares == pytest.approx((0.5 + 1) / (10 * 0.5 + 1), abs=0.03)
    parts = spread(QuantitySkew(alpha=0.01, minimum=7), LABELS, 100)
    assert min(len(part) for part in parts) == 7
    assert skew(spread(QuantitySkew(alpha=100.0), LABELS, 4), LABELS) < 0.1


@pytest.mark.parametrize(("ratio", "alpha"), [(1.0, None), (10.0, None), (100.0, 0.1)])
def test_the_tail_has_the_sizes_of_the_definition(ratio, alpha):
    parts = spread(LongTail(ratio=ratio, alpha=alpha), LABELS, 5)
    kept = torch.cat(parts)
    assert len(kept.unique()) == len(kept)
    assert LABELS[kept].bincount().tolist() == oracles.long_tail_counts([100] * 10, ratio)


def test_small_classes_keep_all_samples_of_a_long_tail():
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)
    kept = torch.cat(spread(LongTail(ratio=2.0), labels, 4))
    assert labels[kept].bincount().tolist() == oracles.long_tail_counts([50, 3, 20], 2.0) == [50, 3, 20]
    assert labels[torch.cat(spread(LongTail(ratio=50.0), labels, 4))].bincount().tolist() == [50, 3, 1]
    assert len(torch.cat(spread(LongTail(), labels[:50], 4))) == 50  # one class


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8, 1.0])
def test_labels_stay_with_their_group_with_probability_p(p):
    labels = torch.arange(20_000) % 10
    parts = spread(Bias(p=p), labels, 30)
    groups = torch.randperm(30, generator=torch.Generator().manual_seed(0)).tensor_split(10)
    shares = oracles.home_share(labels, parts, [group.tolist() for group in groups])
    assert shares == pytest.approx(p, abs=0.02)
    sizes = [len(part) for part in parts]
    assert max(sizes) < 1.2 * min(sizes)


def test_fewer_clients_than_classes_are_groups_of_several_classes():
    parts = spread(Bias(p=1.0), LABELS, 3)
    assert sorted(sorted(LABELS[part].unique().tolist()) for part in parts) == [
        [0, 3, 6, 9],
        [1, 4, 7],
        [2, 5, 8],
    ]
    assert len(spread(Bias(p=0.0), LABELS, 1)[0]) == len(LABELS)


def test_draws_are_with_replacement_and_by_client():
    parts = spread(Resample(samples=50), LABELS[:20], 1000)
    assert [len(part) for part in parts[:3]] == [50, 50, 50]
    assert torch.equal(parts[-1], parts[999])
    assert not torch.equal(parts[0], parts[1])
    drawn = torch.cat(list(parts)).bincount(minlength=20)
    assert drawn.min() > 0.9 * 50 * 1000 / 20
    with pytest.raises(IndexError):
        parts[1000]


def test_more_clients_than_samples_train():
    history = simulate(
        Scenario(
            dataset="digits",
            train_samples=50,
            partition="resample(samples=5)",
            clients=400,
            participation=0.01,
            model="mlp-small",
            rounds=1,
        )
    )
    assert len(history.last.training.sampled) == 4

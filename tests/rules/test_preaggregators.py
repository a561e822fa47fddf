"""Pre-aggregators: the papers' definitions, ByzFL's, and the laws over the registry."""

import inspect
from copy import deepcopy
from dataclasses import fields

import pytest
import torch
from oracles import pipeline as oracles

from strategies import PREAGGREGATORS, preaggregators
from strategies.base import Context, InputError, PreconditionError
from strategies.kernels.weighted_sums import mixed
from strategies.preaggregators import ARC, NNM, Bucketing, Clipping, PreAggregator
from strategies.synthetic import strided, transposed

FURTHER = [Bucketing(size=3), Bucketing(order="fixed"), Clipping(threshold=0.3), NNM(byzantine=3)]


def instances():
    for kind in PREAGGREGATORS.values():
        yield kind()
        if any(field.name == "byzantine" for field in fields(kind)):
            yield from (kind(byzantine=byzantine) for byzantine in (1, 2))
    yield from FURTHER


def drawn(n, d=40, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.rand(n, 1, generator=generator, dtype=torch.float64) + 0.2
    return (lengths * torch.randn(n, d, generator=generator, dtype=torch.float64)).to(dtype)


def context():
    return Context(generator=torch.Generator().manual_seed(5))


def rows_of(part, updates):
    return mixed(part(updates, context()), updates)


def same(part, changed, wanted):
    torch.testing.assert_close(rows_of(part, changed), wanted, rtol=1e-4, atol=1e-5)


laws = pytest.mark.parametrize("part", [*instances()], ids=repr)


@laws
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coefficients_are_shares_of_the_updates(part, dtype):
    for n in (part.minimum, part.minimum + 1, part.minimum + 8):
        updates = drawn(n, dtype=dtype)
        kept = updates.clone()
        coefficients = part(updates, context())
        assert coefficients.shape == (part.rows(n), n)
        assert coefficients.dtype == torch.float64
        assert bool(coefficients.isfinite().all())
        assert bool((coefficients >= 0).all())
        assert bool((coefficients.sum(dim=1) <= 1 + 1e-9).all())
        assert torch.equal(updates, kept)
        assert rows_of(part, updates).dtype == dtype


@laws
def test_the_number_of_rows_never_falls(part):
    counts = [part.rows(n) for n in range(1, 40)]
    assert counts == sorted(counts)
    assert counts[0] >= 1
    if part.aligned:
        assert counts == list(range(1, 40))


@laws
def test_the_same_comes_out_on_any_number_of_threads_and_from_any_storage(part):
    updates = drawn(9, d=90_000)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        coefficients = deepcopy(part)(updates, context())
        results.append((coefficients, mixed(coefficients, updates)))
    torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    for store in (transposed, strided):
        torch.testing.assert_close(part(store(updates), context()), results[0][0], rtol=1e-5, atol=1e-7)


@laws
def test_the_flags_of_the_card_are_true(part):
    updates = drawn(11)
    rows = rows_of(part, updates)
    card = part.card
    if card.permutation_equivariant:
        order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
        same(part, updates[order], rows[order])
    if card.unanimous:
        same(part, updates[:1].expand(11, -1), updates[:1].expand(len(rows), -1))
    if card.translation_equivariant:
        same(part, updates + updates[3], rows + updates[3])
    if card.scale_equivariant:
        same(part, 5 * updates, 5 * rows)
    if card.mean_without_byzantine and not getattr(part, "byzantine", 0):
        torch.testing.assert_close(rows.mean(dim=0), updates.mean(dim=0))


@laws
def test_huge_tiny_and_equal_updates_are_mixed_too(part):
    updates = drawn(11)
    huge = updates.clone()
    huge[0] *= 1e25
    for hard in (huge, 1e-20 * updates, 0 * updates, updates[:1].expand(11, -1).clone()):
        coefficients = part(hard, context())
        assert bool(coefficients.isfinite().all())
        assert bool((coefficients.sum(dim=1) <= 1 + 1e-9).all())


@laws
def test_what_is_no_matrix_of_finite_updates_is_refused(part):
    updates = drawn(part.minimum + 2)
    bad = updates.clone()
    bad[1, 3] = torch.nan
    for wrong in (bad, updates[0], updates.long(), updates[:0]):
        with pytest.raises(InputError):
            part(wrong, context())
    if part.minimum > 1:
        with pytest.raises(PreconditionError, match=f"at least {part.minimum} updates"):
            part(updates[: part.minimum - 1], context())


def test_every_preaggregator_is_registered():
    found = {
        kind
        for kind in vars(preaggregators).values()
        if isinstance(kind, type) and issubclass(kind, PreAggregator) and not inspect.isabstract(kind)
    }
    assert set(PREAGGREGATORS.values()) == found
    assert list(PREAGGREGATORS) == sorted(PREAGGREGATORS)
    assert all(kind.__name__.lower() == name for name, kind in PREAGGREGATORS.items())


CASES = [(7, 0), (7, 1), (8, 2), (11, 5)]


@pytest.mark.parametrize(("n", "f"), CASES)
def test_the_papers_definitions(n, f):
    updates = drawn(n, dtype=torch.float64, seed=n)
    X = updates.numpy()
    for part, wanted in [
        (NNM(byzantine=f), oracles.nnm(X, f)),
        (ARC(byzantine=f), oracles.arc(X, f)),
        (Clipping(threshold=2.0), oracles.clipping(X, 2.0)),
        (Bucketing(size=f + 1, order="fixed"), oracles.bucketing(X, f + 1, range(n))),
    ]:
        torch.testing.assert_close(rows_of(part, updates), torch.from_numpy(wanted))
    order = torch.randperm(n, generator=context().generator).tolist()
    shuffled = torch.from_numpy(oracles.bucketing(X, 2, order))
    torch.testing.assert_close(rows_of(Bucketing(), updates), shuffled)


@pytest.mark.parametrize(("n", "f"), CASES)
def test_byzfl_agrees(n, f):
    byzfl = pytest.importorskip("byzfl")
    updates = drawn(n, seed=n)
    for part, theirs in [
        (NNM(byzantine=f), byzfl.NNM(f)),
        (ARC(byzantine=f), byzfl.ARC(f)),
        (Clipping(threshold=2.0), byzfl.Clipping(2.0)),
    ]:
        wanted = theirs(updates.clone())  # clipping and ARC write to what they are given
        torch.testing.assert_close(rows_of(part, updates), wanted, rtol=1e-5, atol=1e-5)
    with torch.random.fork_rng():
        torch.manual_seed(5)  # ByzFL draws from the global stream
        wanted = byzfl.Bucketing(3)(updates)
    torch.testing.assert_close(rows_of(Bucketing(size=3), updates), wanted, rtol=1e-5, atol=1e-5)


def test_of_equally_near_updates_itself_and_the_first_ones_are_mixed():
    updates = torch.tensor([[0.0], [1.0], [1.0], [1.0], [2.0]])
    coefficients = NNM(byzantine=2)(updates)
    assert coefficients[3].nonzero().flatten().tolist() == [1, 2, 3]
    assert coefficients[4].nonzero().flatten().tolist() == [1, 2, 4]


def test_clipping_lets_zero_updates_be():
    updates = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert Clipping(threshold=1).__call__(updates).diagonal().tolist() == [1.0, 0.2, 1.0]
    assert ARC(byzantine=1)(updates).diagonal().tolist() == [1.0, 0.0, 1.0]


def test_a_shuffle_needs_a_stream():
    with pytest.raises(InputError, match="Pass a context with a generator, or set order=fixed"):
        Bucketing()(drawn(4))


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        (NNM, {"byzantine": -1}, "byzantine: got -1"),
        (ARC, {"byzantine": -1}, "byzantine: got -1"),
        (Bucketing, {"size": 0}, "size: got 0"),
        (Clipping, {"threshold": 0.0}, "threshold: got 0.0"),
        (Clipping, {"threshold": float("nan")}, "threshold: got nan"),
    ],
)
def test_impossible_knobs_are_refused(kind, parameters, words):
    with pytest.raises(ValueError, match=words):
        kind(**parameters)

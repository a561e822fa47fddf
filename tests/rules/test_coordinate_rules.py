"""The rules on coordinates and nearest updates give what their papers say, and bear what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aggregating import agree, attacked, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import coordinates as oracles
from oracles.filters import geometric_median

from strategies import STRATEGIES
from strategies.kernels.order_statistics import mean_of_nearest, over_sorted_columns
from strategies.rules.bulyan import Bulyan
from strategies.rules.fedavg import FedAvg
from strategies.rules.krum import Krum
from strategies.rules.median import Median
from strategies.rules.multi_krum import MultiKrum
from strategies.rules.robust_learning_rate import RobustLearningRate
from strategies.rules.sign_majority import SignMajority
from strategies.rules.trimmed_mean import MeanAroundMedian, Phocas, TrimmedMean


def cases(n, f):
    """Return rules and oracles that are defined for n updates of which f are tolerated."""
    yield Median(), oracles.median
    yield FedAvg(), oracles.fedavg
    yield RobustLearningRate(), oracles.robust_learning_rate
    yield RobustLearningRate(threshold=n), lambda x: oracles.robust_learning_rate(x, n)
    yield SignMajority(), oracles.sign_majority
    yield SignMajority(step=0.25), lambda x: oracles.sign_majority(x, 0.25)
    if n > 2 * f:
        yield TrimmedMean(byzantine=f), lambda x: oracles.trimmed_mean(x, f)
        yield MeanAroundMedian(byzantine=f), lambda x: oracles.mean_around_median(x, f)
        yield Phocas(byzantine=f), lambda x: oracles.phocas(x, f)
    if n > 2 * f + 2:
        for excluded in (1, 2):
            for power in (1, 2, 4):
                parameters = {"excluded": excluded, "power": power}
                yield (
                    Krum(byzantine=f, **parameters),
                    lambda x, parameters=parameters: oracles.krum(x, f, **parameters),
                )
                yield (
                    MultiKrum(byzantine=f, **parameters),
                    lambda x, parameters=parameters: oracles.multi_krum(x, f, **parameters),
                )
        yield MultiKrum(byzantine=f, select=2), lambda x: oracles.multi_krum(x, f, 2)
    if n > 4 * f + 2:
        yield Bulyan(byzantine=f), lambda x: oracles.bulyan(x, f)
        yield Bulyan(byzantine=f, selection="one-shot"), lambda x: oracles.bulyan(x, f, "one-shot")


@pytest.mark.parametrize("f", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 4, 7, 11, 12, 15])
def test_rules_are_what_the_papers_say(n, f):
    for rule, oracle in cases(n, f):
        agree(rule, oracle, drawn(n, 5), tolerance=1e-12)
        agree(rule, oracle, drawn(n, 5).astype(np.float32).astype(float), torch.float32, 1e-5)


def test_every_rule_of_this_file_has_been_compared():
    compared = {type(rule) for rule, _ in cases(15, 3)}
    assert compared <= set(STRATEGIES.values())
    assert len(compared) == 10


BASES = {
    "median": lambda f: lambda rows: np.median(rows, axis=0),
    "trimmed-mean": lambda f: lambda rows: np.sort(rows, axis=0)[f : len(rows) - f].mean(axis=0),
    "geometric-median": lambda f: lambda rows: geometric_median(rows, steps=300),
}


@pytest.mark.parametrize("selection", ["iterated", "one-shot"])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("n", "f"), [(7, 1), (12, 2)])
def test_bulyan_selects_by_any_base_rule(n, f, base, selection):
    rule = Bulyan(byzantine=f, base=base, selection=selection)
    updates = drawn(n, 5)
    updates[:f] += 3
    agree(rule, lambda x: oracles.bulyan(x, f, selection, BASES[base](f)), updates, tolerance=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(n=st.integers(1, 13), d=st.integers(1, 4), f=st.integers(0, 3), seed=st.integers(0, 999))
def test_ties_are_broken_alike(n, d, f, seed):
    for rule, oracle in cases(n, f):
        if not isinstance(rule, Phocas):  # a tie around a trimmed mean is a matter of its last bit
            agree(rule, oracle, drawn(n, d, seed, whole=True), tolerance=1e-12)


def test_weights_weigh():
    updates, weights = drawn(6, 4), np.array([3.0, 1, 2, 9, 0, 5])
    for rule, oracle in ((FedAvg(), oracles.fedavg), (RobustLearningRate(), oracles.robust_learning_rate)):
        result = rule(torch.from_numpy(updates), torch.from_numpy(weights))
        update, trust = oracle(updates, weights=weights)
        np.testing.assert_allclose(result.update, update)
        np.testing.assert_allclose(result.trust, trust)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(n=st.integers(1, 30), kept=st.integers(1, 30), seed=st.integers(0, 999))
def test_the_nearest_values_are_found_from_any_centre(n, kept, seed):
    kept = min(n, kept)
    generator = np.random.default_rng(seed)
    values, centres = generator.normal(size=(6, n)), generator.normal(size=6)
    rows = torch.from_numpy(values)
    means, shares = mean_of_nearest(rows.sort(dim=1).values, rows, torch.from_numpy(centres), kept)
    chosen = [oracles.nearest(row, centre, kept) for row, centre in zip(values, centres, strict=True)]
    np.testing.assert_allclose(means, [np.mean(row) for row in chosen])
    wanted = [sum(values[c, i] in chosen[c] for c in range(6)) for i in range(n)]
    np.testing.assert_array_equal(shares, wanted)


def test_columns_beyond_one_chunk_are_sorted_too():
    updates = drawn(7, 5000)
    result = MeanAroundMedian(byzantine=2)(torch.from_numpy(updates))
    some = [0, 1023, 1024, 4095, 4999]
    np.testing.assert_allclose(result.update[some], oracles.mean_around_median(updates[:, some], 2)[0])
    np.testing.assert_allclose(Median()(torch.from_numpy(updates)).update, np.median(updates, axis=0))
    np.testing.assert_allclose(Bulyan(byzantine=1)(torch.from_numpy(updates)).trust.sum(), 1)


def test_only_the_named_rows_are_sorted():
    updates = torch.from_numpy(drawn(6, 3))
    rows = torch.tensor([1, 4])

    def smallest(ordered, values):
        return ordered[:, 0], values.sum(dim=0)

    result, sums = over_sorted_columns(updates, smallest, rows=rows)
    assert torch.equal(result, updates[rows].amin(dim=0))
    assert torch.equal(sums, updates[rows].sum(dim=1))


def test_the_papers_selection_differs_from_the_one_shot():
    differ = 0
    for seed in range(20):
        rows = torch.from_numpy(drawn(15, 10, seed))
        differ += not torch.equal(
            Bulyan(byzantine=3)(rows).update, Bulyan(byzantine=3, selection="one-shot")(rows).update
        )
    assert differ > 5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Phocas(byzantine=-1), "byzantine: got -1"),
        (lambda: MeanAroundMedian(byzantine=-1), "byzantine: got -1"),
        (lambda: Bulyan(byzantine=-1), "byzantine: got -1"),
        (lambda: Bulyan(selection="twice"), "selection: got 'twice', expected 'iterated' or 'one-shot'"),
        (lambda: SignMajority(step=0.0), "step: got 0.0"),
        (lambda: SignMajority(step=float("nan")), "step: got nan"),
        (lambda: RobustLearningRate(threshold=0), "threshold: got 0"),
    ],
)
def test_impossible_settings_cannot_be_built(build, message):
    with pytest.raises(ValueError, match=message):
        build()


STEADY = [Krum, MultiKrum, Median, TrimmedMean, MeanAroundMedian, Phocas, Bulyan]


@pytest.mark.parametrize("strength", [5.0, -1e3, 1e12])
@pytest.mark.parametrize("kind", STEADY)
def test_as_many_as_are_tolerated_do_not_get_far(kind, strength):
    for f in (1, 2, 3):
        rule = kind() if kind is Median else kind(byzantine=f)
        n = 2 * f + 1 if kind is Median else rule.minimum
        for seed in range(5):
            rows, honest = attacked(n, f, strength, seed)
            spread = honest.amax(dim=0) - honest.amin(dim=0)
            off = (rule(rows).update - honest.mean(dim=0)).abs()
            assert (off <= 2 * spread + 1e-9).all()


@pytest.mark.parametrize("kind", STEADY)
def test_a_majority_moves_the_result_anywhere(kind):
    rule = kind() if kind is Median else kind(byzantine=2)
    for strength in (1e3, -1e6):
        rows, _ = attacked(11, 6, strength)
        assert (rule(rows).update.sign() == np.sign(strength)).all()
        assert (rule(rows).update.abs() > abs(strength) / 20).all()


def test_one_client_moves_the_mean_anywhere():
    rows, _ = attacked(11, 1, 1e6)
    assert (FedAvg()(rows).update > 1e4).all()


def test_a_minority_neither_turns_a_clear_vote_nor_lengthens_the_step():
    rows = torch.full((9, 4), 0.5)
    rows[:4] = -1e9
    torch.testing.assert_close(SignMajority()(rows).update, torch.full((4,), 0.5))
    rows[:5] = -1e9
    torch.testing.assert_close(SignMajority()(rows).update, torch.full((4,), -1e9))


def test_the_robust_learning_rate_turns_back_what_few_push():
    rows = torch.zeros(10, 2)
    rows[:, 0] = 1.0
    rows[0, 1] = 10.0
    result = RobustLearningRate()(rows)
    torch.testing.assert_close(result.update, torch.tensor([1.0, -1.0]))
    assert result.trust[0] == result.trust[1]

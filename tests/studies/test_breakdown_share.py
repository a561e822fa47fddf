"""The fitted breakdown share, against scikit-learn's regression and against known thresholds."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from fedpoison.errors import ScenarioError
from fedpoison.studies.breakdown_share import BreakdownShare, Island, Outcome, fit_breakdown_share


def outcomes(held_by_share):
    """Return outcomes from the verdicts of seeds 0, 1, ... at each share."""
    return [
        Outcome(share, seed, held)
        for share, seeds in held_by_share.items()
        for seed, held in enumerate(seeds)
    ]


def thresholds(limits, shares):
    """Return outcomes of seeds that break from their own limit on."""
    return [Outcome(share, seed, share < limit) for seed, limit in enumerate(limits) for share in shares]


def test_one_seed_gives_the_gap_of_its_grid():
    found = fit_breakdown_share(thresholds([0.25], [0.0, 0.1, 0.2, 0.3, 0.4]))
    assert found == BreakdownShare(0.25, 0.2, 0.3, tested=0.4, seeds=1, first_broken=0.3)
    assert found.coverage_note == "with 1 seed the interval is only the gap between two tested shares"


def test_the_share_is_the_median_of_the_seeds_thresholds():
    limits = [0.11, 0.17, 0.21, 0.24, 0.33]
    found = fit_breakdown_share(thresholds(limits, np.linspace(0, 0.4, 41).round(2).tolist()))
    assert found.share == pytest.approx(0.21, abs=0.011)
    assert found.low <= 0.17
    assert found.high >= 0.24
    assert (found.first_broken, found.islands, found.coverage_note) == (0.21, (), "")


def test_a_strategy_that_never_breaks_has_no_share():
    found = fit_breakdown_share(thresholds([1, 1, 1], [0.0, 0.2, 0.4]))
    assert found == BreakdownShare(None, 0.4, None, tested=0.4, seeds=3, first_broken=None)
    assert found.text == "above 40.0 [40.0, -] %"


def test_a_strategy_that_always_breaks_has_its_first_share():
    found = fit_breakdown_share(thresholds([0, 0], [0.1, 0.2]))
    assert found == BreakdownShare(0.1, 0.0, 0.1, tested=0.2, seeds=2, first_broken=0.1)


def test_islands_are_shown_and_do_not_move_the_share():
    held = {0.0: [True], 0.1: [False], 0.2: [True], 0.3: [True], 0.4: [True], 0.5: [False], 0.6: [False]}
    found = fit_breakdown_share(outcomes(held))
    assert found.first_broken == 0.1
    assert found.islands == (Island(0.2, 0.4),)
    assert 0.4 < found.share <= 0.5
    assert found.note == "half of the seeds or more break it at 10.0 %, but not at 20.0 to 40.0 %"


def test_an_island_may_end_the_grid():
    held = {0.1: [True, True], 0.2: [False, True], 0.3: [False, False], 0.4: [True, True], 0.5: [True, True]}
    found = fit_breakdown_share(outcomes(held))
    assert found.first_broken == 0.2
    assert found.islands == (Island(0.4, 0.5),)


def test_the_interval_is_that_of_a_regression_per_sample():
    """The fast search for the cut agrees with an isotonic regression on each bootstrap sample."""
    source = np.random.default_rng(7)
    shares = [0.0, 0.1, 0.2, 0.3, 0.4]
    for _ in range(20):
        verdicts = source.random((4, 5)) > np.array([0.05, 0.3, 0.4, 0.6, 0.8])
        found = fit_breakdown_share(
            (
                Outcome(share, seed, bool(verdicts[seed, place]))
                for seed in range(4)
                for place, share in enumerate(shares)
            ),
            resamples=200,
        )
        lows, highs = [], []
        for draw in np.random.default_rng(0).integers(4, size=(200, 4)):
            share, broke = np.tile(shares, 4), ~verdicts[draw].ravel()
            fit = IsotonicRegression().fit(share, broke).predict(shares)
            first = next((place for place, value in enumerate(fit) if value >= 0.5 - 1e-9), 5)
            lows.append([0.0, *shares][first])
            highs.append([*shares, np.inf][first])
        assert found.low == sorted(lows)[4]  # the fifth of 200: at least 2.5 % are not larger
        expected = sorted(highs)[194]
        assert found.high == (None if np.isinf(expected) else expected)


def test_the_order_of_the_outcomes_does_not_matter():
    known = thresholds([0.15, 0.22, 0.35], [0.0, 0.1, 0.2, 0.3, 0.4])
    assert fit_breakdown_share(reversed(known)) == fit_breakdown_share(known)


def test_seeds_may_have_different_shares():
    known = thresholds([0.2, 0.2], [0.0, 0.1, 0.2, 0.3])
    found = fit_breakdown_share([*known, Outcome(0.15, 1, held=True)])
    assert 0.15 <= found.share <= 0.2


def test_five_seeds_contain_the_true_share():
    source = np.random.default_rng(3)
    grid, hits = np.linspace(0, 0.6, 31).round(2).tolist(), 0
    for _ in range(100):
        median = source.uniform(0.15, 0.4)
        limits = np.exp(source.normal(np.log(median), 0.05 / median, size=5))
        found = fit_breakdown_share(thresholds(limits, grid), resamples=500)
        hits += found.low <= median <= (1 if found.high is None else found.high)
    assert hits >= 90


def test_no_outcome_and_two_for_one_run_are_errors():
    with pytest.raises(ScenarioError, match="outcomes: got none, expected at least one run"):
        fit_breakdown_share([])
    with pytest.raises(ScenarioError, match=r"outcomes: got two for share 0.1 and seed 0, expected one"):
        fit_breakdown_share([Outcome(0.1, 0, held=True), Outcome(0.1, 0, held=False)])

"""Means over seeds with bootstrap intervals."""

import re

import numpy as np
import pytest
from scipy import stats

from fedpoison.results import run_frame
from fedpoison.results.run_frame import Estimate, coverage_note, estimate


def test_the_interval_is_scipys():
    values = [0.91, 0.87, 0.95, 0.9, 0.89]
    ends = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    assert estimate(values) == Estimate(pytest.approx(np.mean(values)), ends.low, ends.high)


def test_the_interval_lies_near_that_of_a_plain_bootstrap():
    generator = np.random.default_rng(7)
    values = generator.normal(0.8, 0.05, size=30)
    means = generator.choice(values, size=(20_000, 30)).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    found = estimate(list(values))
    assert found.low == pytest.approx(low, abs=2e-3)
    assert found.high == pytest.approx(high, abs=2e-3)


@pytest.mark.parametrize("values", [[0.1, 0.4], [0.9, 0.9, 0.95], [0.0, 1.0, 0.0, 0.0]])
def test_the_interval_holds_the_mean_and_stays_within_the_values(values):
    found = estimate(values)
    assert min(values) - 1e-9 <= found.low < found.mean < found.high <= max(values) + 1e-9


@pytest.mark.parametrize("seeds", [2, 3, 5, 9])
def test_few_seeds_are_said_to_hold_the_mean_as_often_as_they_do(seeds, monkeypatch):
    monkeypatch.setattr(run_frame, "RESAMPLES", 999)  # the share is the same, and had sooner
    samples = np.random.default_rng(seeds).normal(size=(400, seeds))
    found = [estimate(list(sample)) for sample in samples]
    held = np.mean([each.low <= 0 <= each.high for each in found])
    said = int(re.search(r"about (\d+) %", coverage_note(seeds))[1]) / 100
    assert held == pytest.approx(said, abs=0.06)  # three standard deviations of a share of 400
    assert held < 0.95
    assert not coverage_note(10)


def test_no_interval_is_claimed_where_there_is_none():
    assert estimate([0.7]) == Estimate(0.7, None, None)
    assert estimate([0.7, 0.7, 0.7]) == Estimate(pytest.approx(0.7), pytest.approx(0.7), pytest.approx(0.7))
    unknown = estimate([0.7, float("nan")])
    assert np.isnan(unknown.mean)
    assert unknown.low is None

"""The smallest malicious share that breaks a strategy, and the bisection that finds it."""

import itertools
import json
import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpoison.cli.breakdown import as_json, notes, table
from fedpoison.errors import RunError, ScenarioError
from fedpoison.results.history import History
from fedpoison.results.round import Failure, Round, Training
from fedpoison.simulation.batch import BatchResult
from fedpoison.simulation.run import simulate
from fedpoison.studies import figures
from fedpoison.studies.bisection import find_thresholds, held_above, next_counts, smallest_breaking
from fedpoison.studies.breakdown_point import breakdown
from fedpoison.studies.breakdown_result import criterion

REFUSED = Failure("round 1: Krum needs n > 2f + 2", aggregation_failed=True)


class Federation:
    """Stands in for `run_all`: the accuracy of each run follows from its number of malicious clients."""

    def __init__(self, accuracy, stopped=None):
        self.accuracy, self.stopped, self.made = accuracy, stopped or {}, []

    def __call__(self, scenarios, **_):
        batch = BatchResult()
        for scenario in scenarios:
            count = round(scenario.malicious * scenario.clients)
            self.made.append((scenario, count))
            if count in self.stopped:
                batch.failures[scenario] = self.stopped[count]
            else:
                batch.histories[scenario] = History(scenario, [self.record(count, scenario)])
        return batch

    def record(self, count, scenario):
        right = round(1000 * self.accuracy(count, scenario))
        return Round(round=1, confusion=[[right, 1000 - right], [1000 - right, right]], loss=1.0)


@pytest.fixture
def search(small, tmp_path, monkeypatch):
    """Return a function that searches in a federation that is made up."""

    def found(federation, attacks=("sign-flip",), strategies=("fedavg",), seeds=(0,), chosen=None, **changes):
        monkeypatch.setattr(
            "fedpoison.studies.breakdown_point.batch_runner", lambda **_: nullcontext(federation)
        )
        base = small.replace(clients=40, malicious=0.2, **changes)
        return breakdown(
            base, attacks, strategies, criterion=chosen or criterion("accuracy"), seeds=seeds, out=tmp_path
        )

    return found


def test_the_share_is_found_to_the_single_client(search):
    federation = Federation(lambda count, _: 0.95 - 0.01 * count)
    (curve,) = search(federation).curves
    assert (curve.breaking_point.count, curve.last_held.count) == (10, 9)
    assert curve.breaking_point.costs == (pytest.approx(0.1),)
    assert sorted(count for _, count in federation.made) == [0, 4, 8, 9, 10, 12, 16, 20]


def test_the_mean_over_the_seeds_decides(search):
    (curve,) = search(Federation(lambda count, run: 0.9 - 0.01 * count * (1 + run.seed)), seeds=(0, 2)).curves
    assert curve.breaking_point.count == 5
    assert curve.breaking_point.costs == (pytest.approx(0.05), pytest.approx(0.15))


def test_half_of_the_seeds_decide_the_fit_which_has_an_interval(search):
    found = search(
        Federation(lambda count, run: 0.95 - 0.01 * count * (1 + run.seed)),
        seeds=(0, 1, 2),
        strategies=("krum",),
    )
    (curve,) = found.curves
    fitted = found.fitted(curve)
    assert (fitted.low, fitted.high) == (0, 12 / 40)  # seed 2 breaks from 0 to 4, and seed 0 from 8 to 12
    assert 4 / 40 <= fitted.share <= 5 / 40  # seed 1 breaks at 5
    assert table(found).cells["half of the seeds"].tolist() == [fitted.text]
    assert as_json(found)["curves"][0]["half_of_the_seeds"]["share"] == fitted.share
    assert any("3 seeds the interval contains the true share in about 80 %" in note for note in notes(found))
    held = search(Federation(lambda *_: 0.9), strategies=("krum",))
    (curve,) = held.curves
    assert held.fitted(curve).share == pytest.approx((curve.undefined - 0.5) / 40)


def test_each_seed_is_held_against_its_own_clean_run(search):
    (curve,) = search(Federation(lambda count, run: 0.9 - 0.2 * run.seed - 0.01 * count), seeds=(0, 1)).curves
    assert curve.breaking_point.count == 10


def test_clean_runs_are_shared_by_the_attacks(search):
    federation = Federation(lambda count, _: 0.9 - 0.01 * count)
    found = search(federation, attacks=("sign-flip", "label-flip"), schedule="window(start=2)")
    clean = [scenario for scenario, count in federation.made if not count]
    assert len(clean) == 1
    assert (clean[0].attack, clean[0].schedule) == ("none", "always")
    assert {curve.breaking_point.count for curve in found.curves} == {10}


def test_a_curve_that_recovers_is_flagged(search):
    found = search(Federation(lambda count, _: 0.5 if 5 <= count <= 9 else 0.9))
    (curve,) = found.curves
    assert (curve.breaking_point.count, curve.held_above) == (5, [12, 16, 20])
    assert "The smallest tested share that breaks it is 12.5%" in notes(found)[0]
    assert table(found).cells["breaks at"].tolist() == ["12.5% *"]


def test_a_strategy_is_told_the_true_number_and_searched_as_far_as_it_is_defined(search):
    federation = Federation(lambda *_: 0.9)
    found = search(federation, strategies=("krum", "trimmed-mean", "median"))
    krum, trimmed, median = found.curves
    assert (krum.undefined, krum.points[-1].count) == (19, 18)
    assert "needs n > 2f + 2" in krum.reason
    assert (trimmed.undefined, trimmed.points[-1].count) == (20, 19)
    assert (median.undefined, median.points[-1].count) == (None, 20)
    assert all(scenario.byzantine == count for scenario, count in federation.made)
    assert table(found).cells["undefined from"].tolist() == ["47.5%", "50.0%", "-"]
    assert table(found).cells["breaks at"].tolist() == [
        "none up to 45.0%",
        "none up to 47.5%",
        "none up to 50.0%",
    ]


def test_a_tolerance_that_is_given_stays(search):
    federation = Federation(lambda *_: 0.9)
    (curve,) = search(federation, strategies=("krum",), tolerated=5).curves
    assert curve.undefined is None
    assert {scenario.byzantine for scenario, _ in federation.made} == {5}


def test_a_server_that_has_to_stop_is_broken(search):
    found = search(Federation(lambda *_: 0.9, dict.fromkeys(range(7, 21), REFUSED)))
    (curve,) = found.curves
    assert (curve.breaking_point.count, curve.breaking_point.stopped) == (7, REFUSED.reason)
    assert REFUSED.reason in notes(found)[0]
    assert table(found).cells["costs"].tolist() == ["stops"]
    stopped = found.to_frame().query("malicious == 7").iloc[0]
    assert stopped["broke"]
    assert math.isnan(stopped["cost"])
    json.dumps(as_json(found), allow_nan=False)


class Skipping(Federation):
    """A federation whose strategy skips the aggregation with some numbers of malicious clients."""

    def __init__(self, accuracy, skipped):
        super().__init__(accuracy)
        self.skipped = skipped

    def record(self, count, scenario):
        unchanged = {"the strategy did not aggregate": 1} if count in self.skipped else {}
        training = Training(unchanged=unchanged, drop_counts={"late": 3} if count == 4 else {})
        return replace(super().record(count, scenario), training=training)


def test_a_strategy_that_never_aggregates_is_no_result_at_any_share(search):
    found = search(Skipping(lambda *_: 0.9, range(21)), seeds=(0, 1))
    (curve,) = found.curves
    reason = "none of the 1 rounds changed the model: the strategy did not aggregate"
    assert {point.no_result for point in curve.points} == {reason}
    assert (curve.no_result, curve.breaking_point) == (reason, None)
    assert table(found).cells.loc[0, ["clean", "breaks at", "costs"]].tolist() == ["no result *"] * 2 + ["-"]
    assert (found.fitted(curve), table(found).cells.loc[0, "half of the seeds"]) == (None, "-")
    assert notes(found)[0] == f"fedavg under sign-flip: no result: {reason}"
    assert (found.to_frame()["no_result"] == reason).all()
    assert as_json(found)["curves"][0]["no_result"] == reason
    with pytest.raises(RunError, match="threshold: no result: none of the 1 rounds changed the model"):
        _ = found.threshold
    assert reason in repr(found)
    assert "NaN: none, or no result" in found.headline
    axes = figures.breakdown_curves(found).axes[0]
    assert np.isnan(axes.lines[0].get_ydata()).all()
    assert [text.get_text() for text in axes.texts] == ["no result: fedavg"]


def test_a_clean_run_at_guessing_level_is_no_result_at_any_share(search):
    (curve,) = search(Federation(lambda *_: 0.52)).curves
    assert "accuracy 52.0 %, and guessing the most frequent class gives 50.0 %" in curve.no_result
    assert not any(point.broke for point in curve.points)
    (curve,) = search(Federation(lambda count, _: 0.5 if count else 0.62)).curves
    assert (curve.no_result, curve.breaking_point.count) == (None, 1)  # the attack causes the guessing


def test_a_strategy_that_aggregates_only_without_the_attack_is_broken(search):
    found = search(Skipping(lambda *_: 0.9, range(7, 21)))
    (curve,) = found.curves
    assert (curve.breaking_point.count, curve.no_result) == (7, None)
    assert "none of the 1 rounds changed the model" in curve.breaking_point.stopped
    assert table(found).cells.loc[0, ["breaks at", "costs"]].tolist() == ["17.5% *", "stops"]
    assert "fedavg under sign-flip: 3 replies were unusable: 3 x late" in notes(found)
    assert as_json(found)["curves"][0]["points"][1]["notes"] == ["3 replies were unusable: 3 x late"]
    (text,) = figures.breakdown_curves(found).axes[0].texts
    assert text.get_text() == "partly without effect: fedavg"


@pytest.mark.parametrize("stopped", [{8: Failure("round 1: lost")}, {0: REFUSED}])
def test_a_run_that_is_lost_is_no_result(search, stopped):
    with pytest.raises(RunError, match="runs stopped"):
        search(Federation(lambda *_: 0.9, stopped))


def test_success_is_held_against_a_level(search):
    class Backdoored(Federation):
        def record(self, count, scenario):
            assert scenario.goal == (None if count else "backdoor")
            return Round(round=1, confusion=[[9, 1], [0, 10]], loss=1.0, attack_success_rate=0.05 * count)

    chosen = criterion("success", level=40)
    (curve,) = search(Backdoored(None), attacks=("backdoor+scaled-update",), chosen=chosen).curves
    assert (curve.breaking_point.count, curve.breaking_point.costs) == (8, (pytest.approx(0.4),))
    with pytest.raises(ScenarioError, match="sign-flip has no target"):
        search(Backdoored(None), chosen=chosen)


def test_a_seed_that_measures_no_success_is_no_verdict(search):
    class Blind(Federation):
        def record(self, count, scenario):
            success = float("nan") if scenario.seed == 2 else 0.05 * count
            return Round(round=1, confusion=[[9, 1], [0, 10]], loss=1.0, attack_success_rate=success)

    with pytest.raises(ScenarioError, match="backdoor: no success is measured with seed 2"):
        search(Blind(None), attacks=("backdoor",), chosen=criterion("success"), seeds=(0, 1, 2))


def test_the_worst_class_breaks_before_the_mean(search):
    class Skewed(Federation):
        def record(self, count, _):
            return Round(round=1, confusion=[[100 - 2 * count, 2 * count], [0, 100]], loss=1.0)

    (curve,) = search(Skewed(None), chosen=criterion("worst-class", points=20)).curves
    assert curve.breaking_point.count == 10
    (curve,) = search(Skewed(None), chosen=criterion("accuracy", points=20)).curves
    assert curve.breaking_point.count == 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"measure": "acuracy"}, "unknown measure 'acuracy': did you mean 'accuracy'"),
        ({"measure": "accuracy", "level": 50}, "level: got a value for accuracy"),
        ({"measure": "success", "points": 10}, "points: got a value for success"),
        ({"measure": "accuracy", "points": 0}, "points: got 0"),
        ({"measure": "success", "level": 101}, "level: got 101"),
    ],
)
def test_a_criterion_that_makes_no_sense_is_refused(options, words):
    with pytest.raises(ScenarioError, match=words):
        criterion(**options)


@pytest.mark.parametrize(
    ("changes", "shares", "words"),
    [
        ({"malicious_count": 3}, [0.1], "malicious_count: a search for the breakdown varies"),
        ({}, [0.1, 1.2], "shares: got"),
        ({}, [], "shares: got"),
        ({}, [0.01, 0.04], "all less than 1 of 10 clients"),
        ({"tolerated": 5, "strategy": "krum"}, [0.1], "needs n > 2f"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(small, tmp_path, changes, shares, words):
    strategy = changes.pop("strategy", "fedavg")
    options = {"criterion": criterion("accuracy"), "seeds": [0], "out": tmp_path, "shares": shares}
    with pytest.raises(ScenarioError, match=words):
        breakdown(small.replace(**changes), ["sign-flip"], [strategy], **options)


def test_real_runs_are_what_they_are_alone_and_are_read_again(small, tmp_path):
    options = {"criterion": criterion("accuracy"), "shares": [0.5], "seeds": [0], "out": tmp_path, "jobs": 1}
    expected, told = [], []
    found = breakdown(
        small, ["scaled-update"], ["fedavg"], on_planned=expected.append, notify=told.append, **options
    )
    (curve,) = found.curves
    assert curve.breaking_point is not None
    assert curve.last_held.count == curve.breaking_point.count - 1
    share = curve.breaking_point.count / small.clients
    alone = simulate(small.replace(attack="scaled-update", malicious=share)).last.accuracy
    assert curve.breaking_point.measured == (alone,)
    assert curve.breaking_point.costs[0] == pytest.approx(
        simulate(small.replace(malicious=0.0)).last.accuracy - alone
    )
    assert sum(expected) == len(curve.points) == len(list(tmp_path.glob("*/model.safetensors")))
    assert told == []
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/model.safetensors")}
    again = breakdown(small, ["scaled-update"], ["fedavg"], **options)
    pd.testing.assert_frame_equal(again.to_frame(), found.to_frame())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/model.safetensors")} == made


def test_the_figure_draws_every_cost_and_mark(search):
    found = search(
        Federation(lambda count, _: 0.9 - 0.02 * count), strategies=("fedavg", "krum"), seeds=(0, 1)
    )
    axes = figures.breakdown_curves(found).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    assert drawn["fedavg"].get_xdata().tolist() == [
        100 * point.count / 40 for point in found.curves[0].points
    ]
    assert drawn["krum"].get_ydata()[-1] == pytest.approx(100 * 0.02 * 18)
    rings = [line for line in axes.lines if line.get_markersize() == figures.RING["markersize"]]
    assert [float(line.get_xdata()[0]) for line in rings] == [12.5, 12.5]
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert float(cross.get_xdata()[0]) == 47.5
    between = search(Federation(lambda *_: 0.9, {8: REFUSED}))
    line = figures.breakdown_curves(between).axes[0].lines[0]
    assert dict(zip(line.get_xdata(), np.isnan(line.get_ydata()), strict=True))[20.0]  # it leaves a gap
    stopped = search(Federation(lambda *_: 0.9, dict.fromkeys(range(1, 21), REFUSED)))
    edge = [line for line in figures.breakdown_curves(stopped).axes[0].lines if line.get_marker() == "o"][-1]
    assert (float(edge.get_xdata()[0]), float(edge.get_ydata()[0])) == (2.5, 1.0)


@st.composite
def searches(draw):
    """Draw a grid that begins with 0, and a threshold within or beyond it."""
    grid = sorted({0, *draw(st.sets(st.integers(1, 500), min_size=1, max_size=8))})
    return grid, draw(st.integers(0, grid[-1] + 1))


@given(searches())
def test_the_threshold_of_any_step_is_found_with_few_more_runs(search):
    grid, threshold = search
    tried = []

    def play(asked):
        tried.extend(count for _, count in asked)
        return {(key, count): count >= threshold for key, count in asked}

    verdicts = find_thresholds({"only": grid}, play)["only"]
    assert smallest_breaking(verdicts) == (threshold if threshold <= grid[-1] else None)
    assert held_above(verdicts) == []
    assert tried[: len(grid)] == grid
    assert len(tried) == len(set(tried))
    gap = max(after - before for before, after in itertools.pairwise(grid))
    assert len(tried) - len(grid) <= math.ceil(math.log2(gap))


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(1, 12))
def test_any_curve_ends_beside_a_count_that_held(broke, step):
    broke[0] = False
    grid = sorted({*range(0, len(broke), step), len(broke) - 1})
    verdicts = find_thresholds({0: grid}, lambda asked: {(key, count): broke[count] for key, count in asked})[
        0
    ]
    first = smallest_breaking(verdicts)
    if first is None:
        assert not any(broke[count] for count in grid)
    else:
        assert broke[first]
        assert not broke[first - 1]
        assert held_above(verdicts) == [
            count for count in sorted(verdicts) if count > first and not broke[count]
        ]


def test_keys_are_played_together_step_by_step():
    steps = []

    def play(asked):
        steps.append(list(asked))
        return {(key, count): count >= {"a": 3, "b": 7}[key] for key, count in asked}

    find_thresholds({"a": [0, 4, 8], "b": [0, 4, 8]}, play)
    assert steps[1:] == [[("a", 2), ("b", 6)], [("a", 3), ("b", 7)]]


def test_a_search_that_breaks_without_attackers_is_over():
    assert next_counts([0, 4], {0: True, 4: True}) == []

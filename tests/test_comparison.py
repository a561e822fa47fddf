"""What a comparison says: intervals, paired differences, weak points, and its tables."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fedpoison import intervals
from fedpoison.cli.compare import as_json, tables
from fedpoison.cli.options import parse_specs
from fedpoison.cli.tables import TextTable
from fedpoison.comparison import OPTIMISTIC, CompareCell, Comparison, check_reference, compare
from fedpoison.errors import ScenarioError
from fedpoison.history import History
from fedpoison.intervals import Estimate, coverage_note, estimate
from fedpoison.rounds import Round
from fedpoison.run_frame import MEASURES

SEEDS = (0, 1, 2)
RIGHT = {
    ("none", "fedavg"): (9, 10, 8),
    ("none", "krum"): (8, 8, 8),
    ("backdoor", "fedavg"): (3, 4, 2),
    ("backdoor", "krum"): (6, 9, 6),
}
"""How many of the ten samples of class 0 are recognised in the last round, with each seed."""


def record(number, right, attack):
    """Return a round in which `right` of ten samples of class 0, and all of class 1, are recognised."""
    success = None if attack == "none" else 1 - right / 10
    return Round(
        round=number, confusion=[[right, 10 - right], [0, 10]], loss=1.0, attack_success_rate=success
    )


@pytest.fixture
def made(small):
    """A comparison by hand; the first round is better than the last, and the initial model the best."""
    histories = {
        CompareCell(attack, strategy, seed): History(
            small, [record(0, 10, attack), record(1, 9, attack), record(2, right, attack)]
        )
        for (attack, strategy), rights in RIGHT.items()
        for seed, right in zip(SEEDS, rights, strict=True)
    }
    return Comparison(["none", "backdoor"], ["fedavg", "krum"], SEEDS, histories)


def row(frame, attack, strategy, measure="accuracy"):
    chosen = frame[
        (frame["attack"] == attack) & (frame["strategy"] == strategy) & (frame["measure"] == measure)
    ]
    return chosen.iloc[0]


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
    monkeypatch.setattr(intervals, "RESAMPLES", 999)  # the share is the same, and had sooner
    samples = np.random.default_rng(seeds).normal(size=(400, seeds))
    found = [estimate(list(sample)) for sample in samples]
    held = np.mean([each.low <= 0 <= each.high for each in found])
    said = int(re.search(r"some (\d+) %", coverage_note(seeds))[1]) / 100
    assert held == pytest.approx(said, abs=0.06)  # three standard deviations of a share of 400
    assert held < 0.95
    assert not coverage_note(10)


def test_no_interval_is_claimed_where_there_is_none():
    assert estimate([0.7]) == Estimate(0.7, None, None)
    assert estimate([0.7, 0.7, 0.7]) == Estimate(pytest.approx(0.7), pytest.approx(0.7), pytest.approx(0.7))
    unknown = estimate([0.7, float("nan")])
    assert np.isnan(unknown.mean)
    assert unknown.low is None


def test_estimates_are_means_over_the_seeds(made):
    found = row(made.estimates(), "none", "fedavg")
    assert found["mean"] == pytest.approx((0.95 + 1.0 + 0.9) / 3)
    assert found["low"] < found["mean"] < found["high"]
    assert row(made.estimates(), "backdoor", "krum", "attack success")["mean"] == pytest.approx(0.3)
    assert np.isnan(row(made.estimates(), "none", "krum", "attack success")["mean"])


def test_differences_are_paired(made):
    found = row(made.differences("krum"), "backdoor", "fedavg", "worst-class accuracy")
    each = [0.3 - 0.6, 0.4 - 0.9, 0.2 - 0.6]
    assert found["mean"] == pytest.approx(np.mean(each))
    assert (found["low"], found["high"]) == pytest.approx((estimate(each).low, estimate(each).high))
    assert set(made.differences("krum")["strategy"]) == {"fedavg"}
    assert np.isnan(row(made.differences("krum"), "none", "fedavg", "attack success")["mean"])


def test_the_reference_is_the_one_that_an_attack_harms_least(made):
    assert made.most_robust() == "krum"
    pd.testing.assert_frame_equal(made.differences(), made.differences("krum"))
    with pytest.raises(ScenarioError, match="unknown reference 'kurm': did you mean 'krum'"):
        made.differences("kurm")


def test_weak_points_name_the_attack_and_the_class(made):
    found = made.worst_case().loc["krum"]
    assert found["accuracy"] == pytest.approx((16 + 19 + 16) / 60)
    assert (found["under"], found["class"], found["class_under"]) == ("backdoor", 0, "backdoor")
    assert found["class_accuracy"] == pytest.approx(0.7)
    assert (found["success"], found["success_of"]) == (pytest.approx(0.3), "backdoor")


def test_a_class_that_some_seeds_do_not_test_is_a_mean_over_the_others(made):
    for seed, rows in ((0, [[8, 2], [0, 0]]), (1, [[0, 0], [5, 5]])):
        last = Round(round=2, confusion=rows, loss=1.0, attack_success_rate=0.5)
        made.histories[CompareCell("backdoor", "krum", seed)].records[-1] = last
    assert made.classes("backdoor").loc["krum"].tolist() == pytest.approx([0.7, 0.75])
    (worst,) = made.worst_case().loc[["krum"]].to_dict("records")
    assert (worst["class"], worst["class_accuracy"]) == (0, pytest.approx(0.7))


def test_an_untargeted_attack_has_no_success(made):
    clean = Comparison(["none"], made.strategies, SEEDS, made.histories)
    assert clean.worst_case()["success"].isna().all()
    assert not any("success" in table.title.lower() for table in tables(clean, None)[:-2])
    assert all(cell == "-" for cell in tables(clean, None)[-2].cells["highest success"])


def test_the_last_round_counts_unless_the_best_is_asked_for(made):
    best = Comparison(made.attacks, made.strategies, SEEDS, made.histories, at="best")
    assert best.values(MEASURES["accuracy"], "backdoor", "fedavg") == [0.95, 0.95, 0.95]
    assert made.values(MEASURES["accuracy"], "backdoor", "fedavg") == [0.65, 0.7, 0.6]
    assert best.classes("backdoor").loc["fedavg", 0] == pytest.approx(0.9)


def test_a_maximum_over_rounds_is_warned_of(small, tmp_path):
    told = []
    options = {"seeds": [0], "out": tmp_path, "jobs": 1}
    found = compare(small.but(rounds=1), ["none"], ["fedavg"], at="best", notify=told.append, **options)
    assert (found.at, told) == ("best", [OPTIMISTIC])
    compare(small.but(rounds=1), ["none"], ["fedavg"], notify=told.append, **options)
    assert told == [OPTIMISTIC]


def test_a_single_seed_has_no_intervals(made):
    one = Comparison(made.attacks, made.strategies, SEEDS[:1], made.histories)
    assert not any("[" in cell for table in tables(one, None) for cell in table.cells.to_numpy().ravel())
    assert not any("paired" in table.title for table in tables(one, None))
    assert any("paired" in table.title for table in tables(one, "fedavg"))


def test_json_has_no_nan(made, tmp_path):
    text = json.dumps(as_json(made, None, tmp_path), allow_nan=False)
    found = json.loads(text)
    assert found["reference"] == "krum"
    assert found["estimates"][2]["mean"] is None
    assert found["per_class_accuracy"]["backdoor"]["krum"] == pytest.approx([0.7, 1.0])


UGLY = TextTable(
    "50 % of a_b & c", pd.DataFrame([["x_1 & {y}", "nnm | median"]], columns=["a#b", "c$d\\e~^"])
)


def test_latex_escapes_what_is_its_own_and_has_booktabs_rules():
    text = UGLY.to_latex()
    assert r"\caption{50 \% of a\_b \& c}" in text
    assert r"a\#b & c\$d\textbackslash{}e\textasciitilde{}\textasciicircum{} \\" in text
    assert r"x\_1 \& \{y\} & nnm \textbar{} median \\" in text
    rules = [line for line in text.splitlines() if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"\begin{tabular}{lr}" in text


def test_latex_breaks_a_table_that_fits_no_page():
    for rows, environment in ((40, "table"), (41, "longtable")):
        text = TextTable("many", pd.DataFrame({"row": ["x"] * rows})).to_latex()
        assert f"\\begin{{{environment}}}" in text
        assert text.count("x \\\\") == rows
        assert r"\caption{many}" in text


def test_markdown_escapes_what_would_end_a_cell():
    lines = UGLY.to_markdown().splitlines()
    assert lines[0] == r"**50 % of a\_b & c**"
    assert r"nnm \| median" in lines[-1]
    assert lines[-1].replace(r"\|", "").count("|") == 3


def test_a_reference_may_be_spelt_otherwise():
    assert check_reference(["nnm|median", "fedavg"], "nnm | median") == "nnm|median"
    assert check_reference(["multi-krum", "krum()"], "krum(power=2.0)") == "krum()"


def test_specs_that_mean_the_same_are_run_once_as_the_first_spells_them():
    rules = parse_specs(
        "strategies", "krum(), krum, nnm|median, krum(power=2), krum(power=1), nnm | median()"
    )
    assert rules == ["krum()", "nnm|median", "krum(power=1)"]
    assert parse_specs("attacks", "ipm, ipm(epsilon=0.1), alie+ipm, alie() + ipm") == ["ipm", "alie+ipm"]
    with pytest.raises(ScenarioError, match="unknown strategy 'kurm'"):
        parse_specs("strategies", "krum, kurm")

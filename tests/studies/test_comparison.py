"""What a comparison says: intervals, differences, weak points, tables, and runs that were stopped."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from fedpoison.cli.compare import as_json, notes, tables
from fedpoison.errors import RunError, ScenarioError
from fedpoison.results.history import History
from fedpoison.results.round import Failure, Round
from fedpoison.results.run_frame import MEASURES, estimate
from fedpoison.simulation.batch import BatchResult
from fedpoison.studies import figures
from fedpoison.studies.comparison import OPTIMISTIC, CompareCell, Comparison, check_reference, compare

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
    found = compare(small.replace(rounds=1), ["none"], ["fedavg"], at="best", notify=told.append, **options)
    assert (found.at, told) == ("best", [OPTIMISTIC])
    compare(small.replace(rounds=1), ["none"], ["fedavg"], notify=told.append, **options)
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


def test_a_reference_may_be_spelt_otherwise():
    assert check_reference(["nnm|median", "fedavg"], "nnm | median") == "nnm|median"
    assert check_reference(["multi-krum", "krum()"], "krum(power=2.0)") == "krum()"


ATTACKS, STRATEGIES = ["none", "ipm"], ["krum", "median"]
REFUSED = Failure("round 2: Krum needs n > 2f + 2", aggregation_failed=True)
STOPPED = {CompareCell("ipm", "krum", 1): REFUSED}


def outcomes(scenario, stopped):
    """Return a made-up outcome for each scenario: krum is the better one, where it comes to its end."""

    def run_all(scenarios, **_):
        made = {}
        for run in scenarios:
            right = 9 if run.strategy == "krum" else 6
            counts = [[right, 10 - right], [0, 10]]
            records = [Round(round=number, confusion=counts, loss=1.0) for number in (0, 1)]
            failure = stopped.get(CompareCell(run.attack, run.strategy, run.seed))
            made[run] = failure or History(scenario, records)
        return BatchResult.from_results(made)

    return run_all


@pytest.fixture
def found(small, tmp_path, monkeypatch):
    """Return a function that compares what is made up, with some runs stopped."""

    def compared(stopped):
        monkeypatch.setattr("fedpoison.studies.comparison.run_all", outcomes(small, stopped))
        return compare(small, ATTACKS, STRATEGIES, seeds=SEEDS, out=tmp_path)

    return compared


def test_no_mean_hides_a_seed_that_stopped(found):
    made = found(STOPPED)
    values = made.values(MEASURES["accuracy"], "ipm", "krum")
    assert np.isnan(values).tolist() == [False, True, False]
    means = made.estimates().query("measure == 'accuracy'").set_index(["attack", "strategy"])["mean"]
    assert means.isna().to_dict() == {
        ("none", "krum"): False,
        ("none", "median"): False,
        ("ipm", "krum"): True,
        ("ipm", "median"): False,
    }
    gaps = made.differences("median").query("measure == 'accuracy'").set_index("attack")["mean"].isna()
    assert gaps.to_dict() == {"none": False, "ipm": True}
    assert made.classes("ipm").loc["krum"].isna().all()
    assert made.classes("ipm").loc["median"].tolist() == pytest.approx([0.6, 1.0])


def test_an_attack_that_stops_a_strategy_is_its_worst(found):
    made = found(STOPPED)
    assert made.most_robust() == "median"
    worst = made.worst_case()
    assert (worst.loc["krum", "under"], worst.loc["krum", "class_under"]) == ("ipm", "ipm")
    assert math.isnan(worst.loc["krum", "accuracy"])
    assert worst.loc["median", "accuracy"] == pytest.approx(0.8)
    assert (worst.loc["median", "class"], worst.loc["median", "class_accuracy"]) == (0, pytest.approx(0.6))


@pytest.mark.parametrize(("seeds", "mark"), [((1,), "1 of 3 stopped"), ((0, 1, 2), "stopped")])
def test_the_tables_mark_it_and_a_note_says_why(found, tmp_path, seeds, mark):
    made = found({CompareCell("ipm", "krum", seed): REFUSED for seed in seeds})
    accuracy, *_ = made_tables = tables(made, None)
    assert accuracy.cells.set_index("attack").loc["ipm", "krum"] == mark
    weak = next(table for table in made_tables if "weakest" in table.title).cells.set_index("strategy")
    assert weak.loc["krum", ["lowest accuracy", "worst class"]].tolist() == ["stopped under ipm", "-"]
    (note,) = notes(made)
    assert note.startswith("krum under ipm: the server had to stop with seed")
    assert REFUSED.reason in note
    told = json.loads(json.dumps(as_json(made, None, tmp_path), allow_nan=False))
    assert [run["seed"] for run in told["stopped"]] == list(seeds)
    assert told["weakest"][0]["accuracy"] is None
    assert told["weakest"][1]["class"] == 0


@pytest.mark.parametrize("seeds", [(1,), (0, 1, 2)])
def test_the_differences_say_where_the_reference_stopped(found, seeds):
    made = found({CompareCell("ipm", "krum", seed): REFUSED for seed in seeds})
    paired = next(table for table in tables(made, "krum") if "the reference krum" in table.title)
    cells = paired.cells.set_index("attack")["median"]
    assert cells["none"].startswith("-15.0 [")
    assert cells["ipm"] == "reference stopped"
    made = found({CompareCell("ipm", rule, seed): REFUSED for seed in seeds for rule in STRATEGIES})
    paired = next(table for table in tables(made, "krum") if "the reference krum" in table.title)
    own = "stopped" if len(seeds) == len(SEEDS) else "1 of 3 stopped"
    assert paired.cells.set_index("attack").loc["ipm", "median"] == own


def test_only_an_attack_with_a_target_is_said_to_have_stopped_short_of_it(small):
    ended = {"backdoor": {"krum": 0.1, "median": 0.2}, "ipm": {"median": None}, "blended": {}}
    histories, stopped = {}, {}
    for attack, successes in ended.items():
        for rule in STRATEGIES:
            if rule in successes:
                measured = {"confusion": [[9, 1], [0, 10]], "attack_success_rate": successes[rule]}
                histories[CompareCell(attack, rule, 0)] = History(
                    small, [Round(round=1, loss=1.0, **measured)]
                )
            else:
                stopped[CompareCell(attack, rule, 0)] = REFUSED.reason
    made = Comparison(list(ended), STRATEGIES, [0], histories, stopped=stopped)
    accuracy, *_, success = tables(made, None)[:3]
    assert accuracy.cells["krum"].tolist() == ["95.0", "stopped", "stopped"]
    assert success.cells.to_numpy().tolist() == [
        ["backdoor", "10.0", "20.0"],
        ["ipm", "-", "-"],
        ["blended", "stopped", "stopped"],
    ]


def test_a_note_names_the_seeds_of_each_reason(found):
    other = Failure("round 7: Krum needs n > 2f + 2", aggregation_failed=True)
    made = found({CompareCell("ipm", "krum", seed): other if seed == 1 else REFUSED for seed in SEEDS})
    assert notes(made) == [
        f"krum under ipm: the server had to stop with seeds 0, 2: {REFUSED.reason}",
        f"krum under ipm: the server had to stop with seed 1: {other.reason}",
    ]


def test_the_figures_leave_a_gap_and_name_it(found):
    panel = figures.accuracy_by_round(found(STOPPED)).axes[1]
    assert [len(line.get_xdata()) for line in panel.lines] == [0, 2]
    assert [text.get_text() for text in panel.texts] == ["stopped: krum"]
    everywhere = {CompareCell(attack, strategy, 2): REFUSED for attack in ATTACKS for strategy in STRATEGIES}
    made = found(everywhere)
    assert figures.attack_by_strategy(made).axes
    assert isinstance(tables(made, None), list)


@pytest.mark.parametrize(
    "stopped",
    [
        {CompareCell("ipm", "krum", 1): Failure("WorkerCrashedError: round 1: lost")},
        {
            CompareCell(attack, rule, seed): REFUSED
            for attack in ATTACKS
            for rule in STRATEGIES
            for seed in SEEDS
        },
    ],
    ids=["for another reason", "every run"],
)
def test_what_is_no_result_is_an_error(found, stopped):
    with pytest.raises(RunError, match="runs stopped"):
        found(stopped)


def test_the_command_prints_its_tables_all_the_same(small, tmp_path, fedpoison):
    file = tmp_path / "scenario.toml"
    file.write_text(small.replace(rounds=1, participation=0.9, malicious=0.3, tolerated=3).to_toml())
    options = ["--attacks", "none,non-finite-update", "--strategies", "krum,median", "--jobs", "1"]
    code, out, err = fedpoison("compare", file, *options, "--out", tmp_path, "--format", "markdown")
    assert code == 0
    assert "stopped under non-finite-update" in out
    assert "* krum under non-finite-update: the server had to stop with seed 0: round 1: Krum(" in err
    (table,) = tmp_path.glob("compare-*/stopped.csv")
    (row,) = pd.read_csv(table).to_dict("records")
    assert (row["attack"], row["strategy"], row["seed"]) == ("non-finite-update", "krum", 0)

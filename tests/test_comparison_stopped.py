"""What a comparison says of runs that an attack stopped."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from fedpoison import study_figures as figures
from fedpoison.batch import BatchResult
from fedpoison.cli.compare import as_json, notes, tables
from fedpoison.comparison import CompareCell, Comparison, compare
from fedpoison.errors import RunError
from fedpoison.history import History
from fedpoison.rounds import Failure, Round
from fedpoison.run_frame import MEASURES

ATTACKS, STRATEGIES, SEEDS = ["none", "ipm"], ["krum", "median"], (0, 1, 2)
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
        return BatchResult.of(made)

    return run_all


@pytest.fixture
def found(small, tmp_path, monkeypatch):
    """Return a function that compares what is made up, with some runs stopped."""

    def compared(stopped):
        monkeypatch.setattr("fedpoison.comparison.run_all", outcomes(small, stopped))
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
    with pytest.raises(RunError, match="runs had to stop"):
        found(stopped)


def test_the_command_prints_its_tables_all_the_same(small, tmp_path, fedpoison):
    file = tmp_path / "scenario.toml"
    file.write_text(small.but(rounds=1, participation=0.9, malicious=0.3, tolerated=3).to_toml())
    options = ["--attacks", "none,non-finite-update", "--strategies", "krum,median", "--jobs", "1"]
    code, out, err = fedpoison("compare", file, *options, "--out", tmp_path, "--format", "markdown")
    assert code == 0
    assert "stopped under non-finite-update" in out
    assert "* krum under non-finite-update: the server had to stop with seed 0: round 1: Krum(" in err
    (table,) = tmp_path.glob("compare-*/stopped.csv")
    (row,) = pd.read_csv(table).to_dict("records")
    assert (row["attack"], row["strategy"], row["seed"]) == ("non-finite-update", "krum", 0)

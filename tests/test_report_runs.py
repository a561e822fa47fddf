"""Which runs a report is about, and which of them stand together."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fedpoison.central import train_centrally
from fedpoison.cli.app import app
from fedpoison.errors import RunError
from fedpoison.report import gather, write_report
from fedpoison.report.contents import Contents
from fedpoison.report.prints import draw
from fedpoison.report.summary import headlines, summarize
from fedpoison.rounds import Failure
from fedpoison.scenario import Scenario
from fedpoison.simulation import simulate
from fedpoison.store import RunWriter, StoredRun
from fedpoison.twin import simulate_twin


def by_cell(table):
    return {(row.attack, row.strategy): row for row in table.itertuples()}


def test_clean_runs_that_measure_different_goals_stay_apart(small, tmp_path):
    short = small.but(rounds=1, goal="label-flip(mode=targeted)")
    for attack, goal in (("none", short.goal), ("none", "backdoor"), ("none", None), ("backdoor", None)):
        simulate(short.but(attack=attack, goal=goal), out=tmp_path)
    contents = Contents.of(gather([tmp_path]).runs)
    assert contents.settings == [""]
    labels = ["none", "none, goal backdoor", "none, goal label-flip(mode=targeted)", "backdoor"]
    assert contents.attacks == labels
    table = summarize(contents)
    assert table["places"].map(len).tolist() == [1, 1, 1, 1]
    for row in table[1:3].itertuples():
        assert row.success == contents.runs[row.places[0]].history.last.success is not None
    assert table["success"].isna()[0]
    assert table["damage"].notna()[3]
    assert headlines(contents, table)[0].note.startswith("1 attack, 1 strategy")


def test_clean_runs_that_are_the_same_count_once(small, tmp_path):
    short = small.but(rounds=1)
    for changes in ({}, {"schedule": "once(round=1)"}, {"knowledge": "own"}, {"seed": 1}):
        simulate(short.but(**changes), out=tmp_path)
    stored = gather([tmp_path])
    (row,) = summarize(Contents.of(stored.runs)).itertuples()
    seeds = [run.history.scenario.seed for run in stored.runs]
    assert (len(row.places), sorted(seeds)) == (2, [0, 1])
    assert all("nobody attacks in it: it is the run in" in reason for reason in stored.left_out.values())
    assert len(stored.left_out) == 2


def test_clean_runs_of_groups_of_other_sizes_stay_apart(small, tmp_path):
    short = small.but(rounds=1, malicious=0.2, strategy="trimmed-mean")
    for count in (1, 3):
        attacked = Scenario.parse(
            {**short.content(), "malicious": 0.2} | {"groups": [f"sign-flip: count={count}"]}
        )
        simulate(attacked, out=tmp_path)
        simulate_twin(attacked, out=tmp_path)
    contents = Contents.of(gather([tmp_path]).runs)
    assert contents.attacks[:2] == ["none, count=1", "none, count=3"]
    table = summarize(contents)
    assert table["places"].map(len).tolist() == [1, 1, 1, 1]
    assert table["damage"].notna()[2:].all()


def test_an_unfinished_clean_run_hides_no_twin(small, tmp_path):
    attacked = small.but(rounds=2, attack="scaled-update")
    simulate(attacked, out=tmp_path)
    simulate_twin(attacked, out=tmp_path)
    other = simulate(attacked.but(attack="none", goal="backdoor"), out=tmp_path)
    StoredRun(other.path).model.unlink()
    (damaged,) = (
        summarize(Contents.of(gather([tmp_path]).runs)).query("attack == 'scaled-update'").itertuples()
    )
    assert not np.isnan(damaged.damage)


def test_classes_that_a_test_set_lacks_are_no_obstacle(small, tmp_path):
    for seed in range(3):
        attacked = small.but(rounds=1, attack="scaled-update", seed=seed, test_samples=4)
        simulate(attacked, out=tmp_path / "runs")
        simulate_twin(attacked, out=tmp_path / "runs")
    table = summarize(Contents.of(gather([tmp_path / "runs"]).runs))
    assert table["worst_class"].notna().all()
    write_report([tmp_path / "runs"], tmp_path / "report.html")


def test_central_training_is_left_out(small, tmp_path):
    simulate(small.but(rounds=1), out=tmp_path)
    central = train_centrally(small.but(rounds=1), out=tmp_path)
    stored = gather([tmp_path])
    assert len(stored.runs) == 1
    assert list(stored.left_out) == [str(central.path)]
    assert "trained centrally" in stored.left_out[str(central.path)]
    with pytest.raises(RunError, match="trained centrally"):
        gather([central.path])


def test_unfinished_runs_are_in_no_mean_and_told_apart(report_store, unfinished_store, tmp_path):
    contents = Contents.of(gather([unfinished_store]).runs)
    whole = by_cell(summarize(Contents.of(gather([report_store]).runs)))
    summary = summarize(contents)
    table = by_cell(summary)
    assert list(table) == [("none", "fedavg"), ("none", "krum"), ("backdoor", "fedavg")]
    for place, run in enumerate(contents.runs):
        assert run.complete == any(place in row.places for row in table.values())
    (place,) = table["backdoor", "fedavg"].places
    assert table["backdoor", "fedavg"].accuracy == contents.runs[place].history.last.accuracy
    assert np.isnan(table["backdoor", "fedavg"].accuracy_deviation)
    assert table["none", "krum"].accuracy == whole["none", "krum"].accuracy
    told = {line.name: line.value for line in headlines(contents, summary)}
    assert (told["Finished runs"], told["Not finished"]) == ("5", "3")
    assert "Stands attacks best" not in told
    assert draw(contents, tmp_path) > 0
    assert not [file for file in tmp_path.iterdir() if "backdoor-krum" in file.name]


def test_the_page_tells_which_runs_were_not_finished_and_why(unfinished_store, tmp_path):
    written = write_report([unfinished_store], tmp_path / "report.html")
    assert (written.runs, written.unfinished, written.left_out) == (5, 3, {})
    page = written.page.read_text(encoding="utf-8")
    table = page[page.index('id="unfinished"') : page.index('id="overview"')]
    assert table.count("<tr>") == 1 + 3
    assert table.count("krum: got &lt;b&gt;4&lt;/b&gt; updates.") == 2
    assert table.count("not known: it was stopped, or is still running") == 1
    assert table.count("2 of 4") == 2
    assert table.count("0 of 4") == 1
    result = CliRunner().invoke(app, ["report", str(unfinished_store), "-o", str(tmp_path / "page.html")])
    assert "3 runs were not finished" in result.output
    assert "5 runs, " in result.output


def test_a_page_can_be_about_a_run_that_is_under_way(unfinished_store, tmp_path):
    stopped = next(run for run in gather([unfinished_store]).runs if not run.complete and not run.failure)
    written = write_report([stopped.history.path], tmp_path / "report.html", figures=tmp_path)
    assert (written.runs, written.unfinished, written.figures) == (0, 1, 0)


def test_a_run_that_failed_before_its_first_round_makes_no_page(small, tmp_path):
    folder = RunWriter(tmp_path / small.run_id)
    folder.fail(small, Failure("krum: got 4 updates."))
    with pytest.raises(RunError, match="no run can be read.*krum: got 4 updates"):
        write_report([tmp_path])
    (folder.path / "failure.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"failure\.json: is damaged"):
        write_report([tmp_path])


def test_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        write_report([tmp_path])
    with pytest.raises(RunError, match="wanted a run or a run store"):
        write_report([tmp_path / "nowhere"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "rounds.jsonl").write_text("")
    with pytest.raises(RunError, match="no run can be read"):
        write_report([tmp_path])


def test_strategies_are_ranked_where_all_were_attacked_alike():
    cases = [("mild", "a", 0.9), ("mild", "b", 0.8), ("harsh", "b", 0.7), ("other", "a", 0.95)]
    table = pd.DataFrame(cases, columns=["attack", "strategy", "accuracy"])
    table = table.assign(setting="", mark="", success=float("nan"), places=[[]] * len(cases))
    contents = type("None", (), {"attacks": [], "strategies": [], "runs": [], "settings": []})
    best = [line for line in headlines(contents, table) if line.name == "Stands attacks best"]
    assert [(line.value, line.note[:2]) for line in best] == [("90.0 %", "a:")]
    assert not [line for line in headlines(contents, table[2:]) if line.name == "Stands attacks best"]

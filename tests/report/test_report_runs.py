"""Which runs a report is about, which stand together, and what it says of those that stopped."""

import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fedpoison.cli.app import app
from fedpoison.errors import RunError
from fedpoison.report import load_runs, write_report
from fedpoison.report.figures import _setting, write_figures
from fedpoison.report.page_data import PageData
from fedpoison.report.summary import headlines, summarize
from fedpoison.results.defects import MARKS
from fedpoison.results.round import Failure
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.centralized import train_centralized
from fedpoison.simulation.run import simulate, simulate_clean
from fedpoison.studies.comparison import compare


def by_cell(table):
    return {(row.attack, row.strategy): row for row in table.itertuples()}


def test_clean_runs_that_measure_different_goals_stay_apart(small, tmp_path):
    short = small.replace(rounds=1, goal="label-flip(mode=targeted)")
    for attack, goal in (("none", short.goal), ("none", "backdoor"), ("none", None), ("backdoor", None)):
        simulate(short.replace(attack=attack, goal=goal), out=tmp_path)
    contents = PageData.from_runs(load_runs([tmp_path]).runs)
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
    short = small.replace(rounds=1)
    for changes in ({}, {"schedule": "once(round=1)"}, {"knowledge": "own"}, {"seed": 1}):
        simulate(short.replace(**changes), out=tmp_path)
    stored = load_runs([tmp_path])
    (row,) = summarize(PageData.from_runs(stored.runs)).itertuples()
    seeds = [run.history.scenario.seed for run in stored.runs]
    assert (len(row.places), sorted(seeds)) == (2, [0, 1])
    assert all("it is a clean run, equal to the run in" in reason for reason in stored.left_out.values())
    assert len(stored.left_out) == 2


def test_clean_runs_of_groups_of_other_sizes_stay_apart(small, tmp_path):
    short = small.replace(rounds=1, malicious=0.2, strategy="trimmed-mean")
    for count in (1, 3):
        attacked = Scenario.parse(
            {**short.content(), "malicious": 0.2} | {"groups": [f"sign-flip: count={count}"]}
        )
        simulate(attacked, out=tmp_path)
        simulate_clean(attacked, out=tmp_path)
    contents = PageData.from_runs(load_runs([tmp_path]).runs)
    assert contents.attacks[:2] == ["none, count=1", "none, count=3"]
    table = summarize(contents)
    assert table["places"].map(len).tolist() == [1, 1, 1, 1]
    assert table["damage"].notna()[2:].all()


def test_an_unfinished_clean_run_hides_no_twin(small, tmp_path):
    attacked = small.replace(rounds=2, attack="scaled-update")
    simulate(attacked, out=tmp_path)
    simulate_clean(attacked, out=tmp_path)
    other = simulate(attacked.replace(attack="none", goal="backdoor"), out=tmp_path)
    StoredRun(other.path).model.unlink()
    (damaged,) = (
        summarize(PageData.from_runs(load_runs([tmp_path]).runs))
        .query("attack == 'scaled-update'")
        .itertuples()
    )
    assert not np.isnan(damaged.damage)


def test_classes_that_a_test_set_lacks_are_no_obstacle(small, tmp_path):
    for seed in range(3):
        attacked = small.replace(rounds=1, attack="scaled-update", seed=seed, test_samples=4)
        simulate(attacked, out=tmp_path / "runs")
        simulate_clean(attacked, out=tmp_path / "runs")
    table = summarize(PageData.from_runs(load_runs([tmp_path / "runs"]).runs))
    assert table["worst_class"].notna().tolist() == (table["mark"] == "").tolist()
    write_report([tmp_path / "runs"], tmp_path / "report.html")


def test_central_training_is_left_out(small, tmp_path):
    simulate(small.replace(rounds=1), out=tmp_path)
    central = train_centralized(small.replace(rounds=1), out=tmp_path)
    stored = load_runs([tmp_path])
    assert len(stored.runs) == 1
    assert list(stored.left_out) == [str(central.path)]
    assert "centralized training" in stored.left_out[str(central.path)]
    with pytest.raises(RunError, match="centralized training"):
        load_runs([central.path])


def test_unfinished_runs_are_in_no_mean_and_told_apart(report_store, unfinished_store, tmp_path):
    contents = PageData.from_runs(load_runs([unfinished_store]).runs)
    whole = by_cell(summarize(PageData.from_runs(load_runs([report_store]).runs)))
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
    assert "Most robust" not in told
    assert write_figures(contents, tmp_path) > 0
    assert not [file for file in tmp_path.iterdir() if "backdoor-krum" in file.name]


def test_the_page_tells_which_runs_were_not_finished_and_why(unfinished_store, tmp_path):
    written = write_report([unfinished_store], tmp_path / "report.html")
    assert (written.runs, written.unfinished, written.left_out) == (5, 3, {})
    page = written.page.read_text(encoding="utf-8")
    table = page[page.index('id="unfinished"') : page.index('id="overview"')]
    assert table.count("<tr>") == 1 + 3
    assert table.count("krum: got &lt;b&gt;4&lt;/b&gt; updates.") == 2
    assert table.count("not known: the run was stopped, or is still running") == 1
    assert table.count("2 of 4") == 2
    assert table.count("0 of 4") == 1
    result = CliRunner().invoke(app, ["report", str(unfinished_store), "-o", str(tmp_path / "page.html")])
    assert "3 runs were not finished" in result.output
    assert "5 runs, " in result.output


def test_a_page_can_be_about_a_run_that_is_under_way(unfinished_store, tmp_path):
    stopped = next(run for run in load_runs([unfinished_store]).runs if not run.complete and not run.failure)
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
    with pytest.raises(RunError, match="no run found"):
        write_report([tmp_path])
    with pytest.raises(RunError, match="expected a run or a run store"):
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
    best = [line for line in headlines(contents, table) if line.name == "Most robust"]
    assert [(line.value, line.note[:2]) for line in best] == [("90.0 %", "a:")]
    assert not [line for line in headlines(contents, table[2:]) if line.name == "Most robust"]


def section(page, name, following):
    """Return the texts of the cells of a section's table, a list a row."""
    part = page[page.index(f'<section id="{name}"') : page.index(following)]
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in part.split("<tr>")[2:]]
    return [[" ".join(re.sub("<[^>]*>", "", cell).split()) for cell in row] for row in found]


def test_no_mean_hides_a_seed_that_stopped(stopped_store, tmp_path):
    contents = PageData.from_runs(load_runs([stopped_store]).runs)
    table = {(row.attack, row.strategy): row for row in summarize(contents).itertuples()}
    stopped = table["non-finite-update", "krum"]
    assert stopped.mark == "1 of 2 stopped"
    assert np.isnan([stopped.accuracy, stopped.accuracy_deviation, stopped.damage, stopped.lost_3]).all()
    assert [len(row.places) for row in table.values()] == [2, 2, 1, 2]
    assert all(row.mark == "" and row.accuracy > 0 for row in table.values() if row is not stopped)
    page = write_report([stopped_store], tmp_path / "page.html").page.read_text(encoding="utf-8")
    line = ["krum non-finite-update", "non-finite-update", "1 of 2 stopped", "-", "-", "-", "1"]
    assert section(page, "summary", '<section id="unfinished"')[2] == line
    write_figures(contents, tmp_path / "drawn")
    assert {path.stem for path in (tmp_path / "drawn").iterdir()} >= {"confusion-non-finite-update-krum"}


def test_lost_replies_and_runs_that_are_no_result_are_marked(defective_store, tmp_path):
    contents = PageData.from_runs(load_runs([defective_store]).runs)
    table = {(row.attack, row.strategy): row for row in summarize(contents).itertuples()}
    never = "flwr:FedAvg"
    assert [table[attack, never].mark for attack in ("none", "non-finite-update")] == ["no result"] * 2
    assert np.isnan([table["none", never].accuracy, table["non-finite-update", never].damage]).all()
    assert table["non-finite-update", "fedavg"].damage > -1
    lost = "2 replies were unusable: 2 x contains NaN or infinity"
    reason = "no result: none of the 2 rounds changed the model: the strategy did not aggregate"
    assert contents.notes[0] == f"{never} under none, non-finite-update: {reason}"
    assert contents.notes[1].endswith(f"under non-finite-update: {lost}")
    tiles = {tile.name: tile for tile in headlines(contents, summarize(contents))}
    assert tiles["No result"].value == "2"
    assert "fedavg" in tiles["Lowest accuracy"].note
    assert "fedavg" in tiles["Best without attack"].note
    page = write_report([defective_store], tmp_path / "page.html").page.read_text(encoding="utf-8")
    rows = {row[0]: row for row in section(page, "summary", '<form class="bar screen"')}
    assert rows[f"{never} none"][2:] == ["no result *", "-", "-", "-", "1"]
    assert re.fullmatch(r"\d+\.\d \*", rows["fedavg non-finite-update"][2])
    assert "*" not in "".join(rows["fedavg none"])
    listed = section(page, "provenance", "</main>")
    assert sum(reason in row[-1] for row in listed) == 2
    figures = dict(_setting(contents, summarize(contents)))
    legend = figures["attack-by-strategy"].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [*MARKS.values()]
    legend = figures["classes-non-finite-update"].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [
        "fedavg *",
        MARKS["*"],
    ]
    assert figures[f"rounds-none-{never}"].axes[0].get_title().endswith("\N{MULTIPLICATION SIGN}")


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.ray)])
def test_the_page_says_why_a_run_of_a_comparison_stopped(stopping, tmp_path, jobs, request):
    """However the comparison made it: in this process or in a task, as far as it came."""
    if jobs > 1:
        request.getfixturevalue("shared_ray")
    attacks = ["none", "non-finite-update"]
    found = compare(stopping, attacks, ["krum"], seeds=[3], out=tmp_path / "runs", jobs=jobs)
    (reason,) = found.stopped.values()
    page = write_report([tmp_path / "runs"]).page.read_text(encoding="utf-8")
    (told,) = section(page, "unfinished", '<form class="bar screen"')
    assert told[1:5] == ["non-finite-update", "krum", "3", "1 of 2"]
    assert told[5] == reason.replace(">", "&gt;")
    assert section(page, "summary", '<section id="unfinished"')[1][2:] == ["stopped", "-", "-", "-", "0"]


def test_a_strategy_that_an_attack_stopped_never_stands_attacks_best(stopped_store):
    contents = PageData.from_runs(load_runs([stopped_store]).runs)
    told = {line.name: line for line in headlines(contents, summarize(contents))}
    lowest = told["Lowest accuracy"]
    assert (lowest.value, lowest.note) == ("1 of 2 stopped", "krum under non-finite-update")
    assert told["Most robust"].note.startswith("median:")
    assert told["Best without attack"].value.endswith("%")
    assert told["Finished runs"].note == "1 attack, 2 strategies, 2 seeds"
    assert told["Not finished"].note == "1 of them stopped by the strategy; listed below"


def test_an_attack_that_the_others_did_not_meet_counts_where_it_stops_a_strategy():
    def best(cases):
        table = pd.DataFrame(cases, columns=["attack", "strategy", "accuracy"])
        marks = ["stopped" if np.isnan(accuracy) else "" for accuracy in table["accuracy"]]
        table = table.assign(setting="", mark=marks, success=np.nan, places=[[]] * len(cases))
        contents = type("None", (), {"attacks": [], "strategies": [], "runs": [], "settings": []})
        return [line.note[:2] for line in headlines(contents, table) if line.name == "Most robust"]

    met = [("mild", "a", 0.9), ("mild", "b", 0.8), ("mild", "c", 0.7)]
    assert best(met) == ["a:"]
    assert best([*met, ("harsh", "a", np.nan)]) == ["b:"]
    assert best([*met, *(("harsh", name, np.nan) for name in "abc")]) == []

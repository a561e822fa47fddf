"""What a report says of runs that an attack stopped."""

import re

import numpy as np
import pandas as pd
import pytest

from fedpoison.comparison import compare
from fedpoison.report import gather, write_report
from fedpoison.report.contents import Contents
from fedpoison.report.prints import draw
from fedpoison.report.summary import headlines, summarize


def section(page, name, following):
    """Return the texts of the cells of a section's table, a list a row."""
    part = page[page.index(f'<section id="{name}"') : page.index(following)]
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in part.split("<tr>")[2:]]
    return [[" ".join(re.sub("<[^>]*>", "", cell).split()) for cell in row] for row in found]


def test_no_mean_hides_a_seed_that_stopped(stopped_store, tmp_path):
    contents = Contents.of(gather([stopped_store]).runs)
    table = {(row.attack, row.strategy): row for row in summarize(contents).itertuples()}
    stopped = table["non-finite-update", "krum"]
    assert stopped.mark == "1 of 2 stopped"
    assert np.isnan([stopped.accuracy, stopped.accuracy_deviation, stopped.damage, stopped.lost_3]).all()
    assert [len(row.places) for row in table.values()] == [2, 2, 1, 2]
    assert all(row.mark == "" and row.accuracy > 0 for row in table.values() if row is not stopped)
    page = write_report([stopped_store], tmp_path / "page.html").page.read_text(encoding="utf-8")
    line = ["non-finite-update", "krum", "1", "1 of 2 stopped", "-", "-", "-"]
    assert section(page, "summary", '<section id="unfinished"')[2] == line
    draw(contents, tmp_path / "drawn")
    assert {path.stem for path in (tmp_path / "drawn").iterdir()} >= {"confusion-non-finite-update-krum"}


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.ray)])
def test_the_page_says_why_a_run_of_a_comparison_stopped(stopping, tmp_path, jobs):
    """However the comparison made it: in this process or in a task, as far as it came."""
    attacks = ["none", "non-finite-update"]
    found = compare(stopping, attacks, ["krum"], seeds=[3], out=tmp_path / "runs", jobs=jobs)
    (reason,) = found.stopped.values()
    page = write_report([tmp_path / "runs"]).page.read_text(encoding="utf-8")
    (told,) = section(page, "unfinished", '<form class="bar screen"')
    assert told[1:5] == ["non-finite-update", "krum", "3", "1 of 2"]
    assert told[5] == reason.replace(">", "&gt;")
    assert section(page, "summary", '<section id="unfinished"')[1][2:4] == ["0", "stopped"]


def test_a_strategy_that_an_attack_stopped_never_stands_attacks_best(stopped_store):
    contents = Contents.of(gather([stopped_store]).runs)
    told = {line.name: line for line in headlines(contents, summarize(contents))}
    lowest = told["Lowest accuracy"]
    assert (lowest.value, lowest.note) == ("1 of 2 stopped", "krum under non-finite-update")
    assert told["Stands attacks best"].note.startswith("median:")
    assert told["Best without attack"].value.endswith("%")
    assert told["Finished runs"].note == "1 attack, 2 strategies, 2 seeds"
    assert told["Not finished"].note == "1 of them stopped by the strategy; listed below"


def test_an_attack_that_the_others_did_not_meet_counts_where_it_stops_a_strategy():
    def best(cases):
        table = pd.DataFrame(cases, columns=["attack", "strategy", "accuracy"])
        marks = ["stopped" if np.isnan(accuracy) else "" for accuracy in table["accuracy"]]
        table = table.assign(setting="", mark=marks, success=np.nan, places=[[]] * len(cases))
        contents = type("None", (), {"attacks": [], "strategies": [], "runs": [], "settings": []})
        return [line.note[:2] for line in headlines(contents, table) if line.name == "Stands attacks best"]

    met = [("mild", "a", 0.9), ("mild", "b", 0.8), ("mild", "c", 0.7)]
    assert best(met) == ["a:"]
    assert best([*met, ("harsh", "a", np.nan)]) == ["b:"]
    assert best([*met, *(("harsh", name, np.nan) for name in "abc")]) == []

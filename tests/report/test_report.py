"""The report is one file that asks nobody for anything, and its numbers are those of the runs."""

import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from fedpoison.cli.app import app
from fedpoison.report import load_runs, write_report
from fedpoison.report.page_data import Limits, PageData
from fedpoison.report.summary import summarize
from fedpoison.report.trust_matrix import DROPPED, MOST_TRUST_NODES, evenly_spaced, trust_matrix
from fedpoison.report.write import SCRIPTS
from fedpoison.results.round import GroupRecord, Round, Training
from fedpoison.results.store import StoredRun
from fedpoison.simulation.run import simulate


class Elements(HTMLParser):
    """Lists the elements of a page with their attributes, and keeps the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1][0] == "script":
            self.scripts.append(data)

    def data(self):
        return json.loads(next(text for text in self.scripts if text.startswith('{"settings"')))


@pytest.fixture(scope="module")
def found(report_store):
    return load_runs([report_store])


@pytest.fixture(scope="module")
def page(report_store, tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "page.html"
    write_report([report_store], output)
    return output


def written(paths, folder, **options):
    return write_report(paths, folder / "report.html", **options).page.read_text(encoding="utf-8")


def test_a_page_is_one_file_that_loads_nothing(page):
    assert [file.name for file in page.parent.iterdir()] == ["page.html"]
    assert page.stat().st_size < 6e6
    elements = Elements(page.read_text(encoding="utf-8")).found
    assert not [tag for tag, attributes in elements if {"src", "srcset", "data", "action"} & set(attributes)]
    links = [attributes["href"] for _, attributes in elements if "href" in attributes]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    policy = next(a["content"] for tag, a in elements if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_a_page_can_be_walked_without_eyes_or_mouse(page):
    text = page.read_text(encoding="utf-8")
    elements = Elements(text).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        for name in ("aria-labelledby", "for"):
            assert attributes.get(name, ids[0]) in ids
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids
    assert [tag for tag, _ in elements].count("h1") == 1
    assert {"header", "nav", "main", "footer", "caption"} <= {tag for tag, _ in elements}
    assert 'lang="en"' in text
    for tag, attributes in elements:
        if tag == "th":
            assert attributes["scope"] in ("col", "row")


def test_the_numbers_are_those_of_the_runs(found, page):
    data = Elements(page.read_text(encoding="utf-8")).data()
    assert data["attacks"] == ["none", "backdoor"]
    assert data["strategies"] == ["fedavg", "krum"]
    assert len(data["runs"]) == 8
    histories = {run.history.scenario.run_id: run.history for run in found.runs}
    for run in data["runs"]:
        history = histories[run["id"]]
        assert run["rounds"] == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(np.array(run["classes"], float) / 1e5, history.per_class().T, atol=5e-6)
        np.testing.assert_allclose(np.array(run["accuracy"]) / 1e5, history.to_frame()["accuracy"], atol=5e-6)
        np.testing.assert_array_equal(np.reshape(run["matrices"][-1], (10, 10)), history.last.counts)
        lines = [data["lines"][place] for place in run["scenario"]]
        assert lines == history.scenario.to_toml().splitlines()
        assert json.loads(data["environments"][run["environment"]])["engine"] == "local"


def test_damage_is_taken_from_the_clean_twin(found):
    contents = PageData.from_runs(found.runs)
    for place, clean_run in enumerate(contents.clean_runs):
        attacked = contents.runs[place].history.scenario
        assert (clean_run is None) == (attacked.attack == "none")
        if clean_run is not None:
            clean = contents.runs[clean_run].history.scenario
            assert (clean.attack, clean.strategy, clean.seed) == ("none", attacked.strategy, attacked.seed)
    row = next(summarize(contents).query("attack == 'backdoor' and strategy == 'krum'").itertuples())
    damages = [
        contents.runs[place].history.damage(contents.runs[contents.clean_runs[place]].history).iloc[-1]
        for place in row.places
    ]
    lost = [getattr(row, f"lost_{label}") for label in range(10)]
    np.testing.assert_allclose(lost, np.mean(damages, axis=0)[:-1])
    assert row.damage == pytest.approx(max(lost)) == lost[row.damaged_class]


def test_a_single_run_makes_a_page(small, tmp_path):
    history = simulate(small.replace(rounds=1, malicious=0.0), out=tmp_path)
    data = Elements(written([history.path], tmp_path)).data()
    (run,) = data["runs"]
    assert run["twin"] is None
    assert run["ledger"]["malicious"] == []
    assert data["settings"] == [""]


def test_the_page_lies_in_the_folder_that_was_given(report_store, small, tmp_path, monkeypatch):
    simulate(small.replace(rounds=1), out=tmp_path / "runs")
    assert write_report([tmp_path / "runs"]).page == tmp_path / "runs" / "report.html"
    monkeypatch.chdir(tmp_path)
    several = write_report([tmp_path / "runs", report_store])
    assert several.page.resolve() == tmp_path / "report.html"
    assert several.runs == 9
    assert len(PageData.from_runs(load_runs([tmp_path / "runs", report_store]).runs).settings) == 2


def test_text_from_users_is_text(report_store, tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    store = tmp_path / "<img src=x onerror=alert(3)>"
    shutil.copytree(report_store, store)
    folder = next(path.parent for path in store.rglob("environment.json"))
    environment = json.loads((folder / "environment.json").read_text())
    environment |= {"command": [evil], "warnings": [evil]}
    (folder / "environment.json").write_text(json.dumps(environment))
    (store / "damaged").mkdir()
    (store / "damaged" / "rounds.jsonl").write_text("")
    (store / "damaged" / "scenario.toml").write_text(f'strategy = "{evil}"')
    text = written([store], tmp_path, title=evil)
    elements = Elements(text)
    assert sum(tag == "script" for tag, _ in elements.found) == 2 + len(SCRIPTS)
    assert not [tag for tag, _ in elements.found if tag == "img"]
    assert "Left out" in text
    assert any(run["made"]["command"] == [evil] for run in elements.data()["runs"])


def test_an_unfinished_run_is_shown_as_one(report_store, tmp_path):
    source = next(path.parent for path in report_store.rglob("rounds.jsonl"))
    shutil.copytree(source, tmp_path / source.name)
    StoredRun(tmp_path / source.name).model.unlink()
    lines = (source / "rounds.jsonl").read_text().splitlines()[:3]
    (tmp_path / source.name / "rounds.jsonl").write_text("\n".join(lines) + "\n")
    text = written([tmp_path], tmp_path)
    assert "2 of 4, not finished" in text
    assert len(load_runs([tmp_path, report_store]).runs) == 8
    assert all(run.complete for run in load_runs([tmp_path, report_store]).runs)


def test_a_ledger_tells_shares_of_an_equal_share(small):
    training = Training(
        sampled=[0, 1, 2, 3],
        malicious=[2],
        groups=[GroupRecord(attack="backdoor", nodes=[2], acted=True)],
        dropped={3: "not finite"},
        trust={0: 0.5, 1: 0.25, 2: 0.0},
    )
    record = Round(round=1, confusion=[[1, 0], [0, 1]], loss=0.0, training=training)
    history = type("Told", (), {"records": [record]})
    made = trust_matrix(history)
    assert made.nodes == [2, 0, 1, 3]
    assert made.malicious == [2]
    assert made.acting == [[2]]
    assert made.shares == [[0], [200], [100], [DROPPED]]


def test_large_fleets_and_long_runs_are_thinned():
    trust = dict.fromkeys(range(1000), 0.001)
    training = Training(sampled=list(trust), malicious=list(range(0, 1000, 4)), trust=trust)
    records = [Round(round=n, confusion=[[1]], loss=0.0, training=training) for n in range(1, 500)]
    made = trust_matrix(type("Told", (), {"records": records}))
    assert len(made.nodes) == MOST_TRUST_NODES
    assert len(made.malicious) == MOST_TRUST_NODES // 2
    assert (made.all_nodes, made.all_rounds) == (1000, 499)
    assert (made.rounds[0], made.rounds[-1]) == (1, 499)
    assert Limits.from_class_counts([10] * 500).matrices == 18
    assert Limits.from_class_counts([10]).matrices == 200
    assert evenly_spaced(1, 2) == [0]


def test_the_command_writes_page_and_figures(small, tmp_path):
    simulate(small.replace(rounds=1, attack="sign-flip", strategy="krum"), out=tmp_path / "runs")
    result = CliRunner().invoke(app, ["report", str(tmp_path / "runs"), "--figures", str(tmp_path / "drawn")])
    assert result.exit_code == 0, result.output
    assert "1 runs" not in result.output
    assert (tmp_path / "runs" / "report.html").is_file()
    *_, page, drawn = result.output.splitlines()
    assert page.endswith(f": {tmp_path / 'runs' / 'report.html'}")
    assert drawn.endswith(f"figures: {tmp_path / 'drawn'}")
    names = {path.stem for path in (tmp_path / "drawn").glob("*.svg")}
    assert names == {path.stem for path in (tmp_path / "drawn").glob("*.pdf")}
    assert names == {
        "attack-by-strategy",
        "classes-sign-flip",
        "confusion-sign-flip-krum",
        "rounds-sign-flip-krum",
        "timings-sign-flip",
        "trust-sign-flip-krum",
    }
    told = []
    write_report([tmp_path / "runs"], figures=tmp_path / "drawn", on_figure=told.append)
    assert told == [2, 4, 6, 8, 10, 12]

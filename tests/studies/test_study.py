"""The study file: what it turns into, and what is refused."""

import tomllib

import pytest

from fedpoison.errors import ScenarioError
from fedpoison.simulation.run import simulate
from fedpoison.studies.axes import AXIS_TITLES, RESERVED_COLUMNS
from fedpoison.studies.study import Study
from fedpoison.studies.study_result import StudyResults

STUDY = """
name = "shares"
title = "Shares"

[base]
dataset = "digits"
clients = 10

[axes]
strategy = ["fedavg", "krum(power=1)"]
malicious = { from = 0.0, to = 0.3, step = 0.1 }
seed = { from = 3, to = 5, step = 1 }

[[axes.data]]
name = "alike"

[[axes.data]]
name = "skewed"
partition = "dirichlet(alpha=0.1)"
malicious_partition = "iid"

[[exclude]]
strategy = "fedavg"
malicious = [0.1, 0.2]

[[exclude]]
strategy = "fedavg"
data = "skewed"

[figure]
kind = "lines"
x = "malicious"
series = "strategy"
facet = "data"
"""


@pytest.fixture
def content():
    return tomllib.loads(STUDY)


def test_every_combination_that_is_not_excluded_is_a_cell(content):
    study = Study.parse(content)
    cells = study.cells()
    assert [cell.axis_labels for cell in cells[:2]] == [
        {"strategy": "fedavg", "malicious": 0.0, "seed": 3, "data": "alike"},
        {"strategy": "fedavg", "malicious": 0.0, "seed": 4, "data": "alike"},
    ]
    assert len(cells) == 2 * 1 * 3 + 4 * 2 * 3
    assert {type(cell.axis_labels["seed"]) for cell in cells} == {int}
    last = cells[-1]
    assert last.axis_labels == {"strategy": "krum(power=1)", "malicious": 0.3, "seed": 5, "data": "skewed"}
    assert last.scenario is not None
    assert (last.scenario.partition, last.scenario.malicious_partition) == ("dirichlet(alpha=0.1)", "iid")
    assert (last.scenario.clients, last.scenario.strategy) == (10, "krum(power=1)")
    assert cells[0].scenario.partition == "iid"


def test_what_cannot_be_built_is_a_cell_with_a_reason(content):
    content["axes"]["malicious"]["to"] = 0.4
    cells = Study.parse(content).cells()
    hopeless = [cell for cell in cells if cell.scenario is None]
    assert {(cell.axis_labels["strategy"], cell.axis_labels["malicious"]) for cell in hopeless} == {
        ("krum(power=1)", 0.4)
    }
    assert all("needs n > 2f + 2" in cell.reason for cell in hopeless)
    assert len(cells) - len(hopeless) == 36 - 6 + 3


def test_a_study_survives_toml_with_its_order(content):
    study = Study.parse(content)
    again = Study.parse(tomllib.loads(study.to_toml()))
    assert again == study
    assert [cell.axis_labels for cell in again.cells()] == [cell.axis_labels for cell in study.cells()]


def test_a_field_that_is_set_takes_the_place_of_its_axis(content):
    study = Study.parse(content)
    changed = study.replace(malicious=0.1, rounds=1)
    assert changed.name.startswith("shares-")
    assert changed.name == study.replace(malicious=0.1, rounds=1).name != study.replace(malicious=0.1).name
    assert {cell.axis_labels["malicious"] for cell in changed.cells()} == {0.1}
    assert {cell.axis_labels["strategy"] for cell in changed.cells()} == {
        "krum(power=1)"
    }  # as excluded before
    assert {cell.scenario.rounds for cell in changed.cells()} == {1}
    assert study.replace() == study
    with pytest.raises(ScenarioError, match="partition: is set on the axis data"):
        study.replace(partition="shards")


def test_an_axis_can_keep_several_steps(content):
    study = Study.parse(content)
    everywhere = {(cell.axis_labels["strategy"], cell.axis_labels["malicious"]) for cell in study.cells()}
    changed = study.replace(malicious=[0.1, 0.2], seed=[5, 6])
    assert {(cell.axis_labels["strategy"], cell.axis_labels["malicious"]) for cell in changed.cells()} == {
        place for place in everywhere if place[1] in (0.1, 0.2)
    }
    assert {cell.axis_labels["seed"] for cell in changed.cells()} == {5, 6}
    assert Study.parse(tomllib.loads(changed.to_toml())) == changed


def test_an_axis_of_bundles_keeps_those_that_are_named(content):
    content["axes"]["data"][1]["lr"] = 0.3
    study = Study.parse(content)
    changed = study.replace(data="skewed")
    assert {(cell.scenario.partition, cell.scenario.lr) for cell in changed.cells()} == {
        ("dirichlet(alpha=0.1)", 0.3)
    }
    assert {cell.axis_labels["strategy"] for cell in changed.cells()} == {
        "krum(power=1)"
    }  # as excluded before
    assert study.replace(data=["alike", "skewed"]).axes == study.axes
    with pytest.raises(ScenarioError, match="unknown value of the axis data 'skwed': did you mean 'skewed'"):
        study.replace(data="skwed")


def test_a_field_of_the_base_can_be_unset_but_no_axis(content, tmp_path):
    content["base"]["tolerated"] = 2
    study = Study.parse(content)
    changed = study.replace(tolerated=None)
    assert {cell.scenario.tolerated for cell in study.cells()} == {2}
    assert {cell.scenario.tolerated for cell in changed.cells()} == {None}
    assert Study.parse(tomllib.loads(changed.to_toml())) == changed
    with pytest.raises(ScenarioError, match="rounds: Input should be a valid integer"):
        study.replace(rounds=None)
    with pytest.raises(ScenarioError, match="axes.strategy: got none, expected a value"):
        study.replace(strategy=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bse": {}}, "unknown key of a study 'bse': did you mean 'base'? Choose from axes"),
        ({"name": "a/b"}, "name: String should match"),
        ({"base": {"clints": 3}}, "unknown field 'clints': did you mean 'clients'"),
        ({"base": {"rounds": "many"}}, "rounds: Input should be a valid integer"),
        ({"axes": {}}, "at least 1 item"),
        ({"axes": {"seed": 3}}, "axes.seed: got 3, expected a list"),
        ({"axes": {"seed": []}}, "axes.seed: got [], expected a list"),
        ({"axes": {"seed": [1, 1]}}, "axes.seed: got 1 twice"),
        ({"axes": {"sed": [1]}}, "unknown axis 'sed': did you mean 'seed'"),
        ({"axes": {"strategy": ["kurm"]}}, "did you mean 'krum'"),
        ({"axes": {"malicious": {"from": 0, "to": 1, "stp": 1}}}, "did you mean 'step'"),
        ({"axes": {"malicious": {"from": 0, "to": 1}}}, "axes.malicious: got no step, expected step=<value>"),
        ({"axes": {"malicious": {"from": 0, "to": 1, "step": 0.3}}}, "expected a whole number"),
        ({"axes": {"malicious": {"from": 0, "to": 1, "step": -0.5}}}, "expected a whole number"),
        ({"axes": {"malicious": {"from": 0, "to": 1, "step": 0}}}, "expected a whole number"),
        ({"axes": {"malicious": {"from": 0, "to": 1, "step": 1e-300}}}, "got more than 10000 values"),
        ({"axes": {"malicious": {"from": 1e300, "to": -1e300, "step": 1e-300}}}, "expected a whole number"),
        ({"axes": {"data": [{"partition": "iid"}]}}, "axes.data: got {'partition': 'iid'} without a name"),
        ({"axes": {"data": [{"name": "a", "prtition": "iid"}]}}, "unknown field in axes.data 'prtition'"),
        ({"axes": {"data": [{"name": "a"}, "b"]}}, "axes.data: got tables and values"),
        ({"axes": {"accuracy": [{"name": "a"}]}}, "axes.accuracy: is a column of the results"),
        ({"axes": {"seed": [{"name": "a"}]}}, "axes.seed: is a column of the results"),
        ({"axes": {"class_3": [{"name": "a"}]}}, "axes.class_3: is a column of the results"),
        ({"axes": {"clients": [5, 10]}}, "clients: is set twice"),
        ({"axes": {"lr": [0.1], "pace": [{"name": "a", "lr": 0.2}]}}, "lr: is set twice"),
        ({"exclude": [{}]}, "exclude: got an empty table"),
        ({"exclude": [{"strat": "krum"}]}, "unknown axis 'strat': did you mean 'strategy'"),
        (
            {"exclude": [{"strategy": "krum"}]},
            "got strategy 'krum'; choose from fedavg, krum(power=1)",
        ),
        ({"exclude": [{"seed": [3, 4, 5]}]}, "exclude: leaves no run"),
        ({"figure": {"kind": "pie", "x": "seed", "series": "data"}}, "figure.kind: Input should be 'lines'"),
        ({"figure": {"knd": "bars"}}, "unknown key of a figure 'knd': did you mean 'kind'"),
        ({"figure": {"kind": "bars", "x": "sed", "series": "data"}}, "unknown axis 'sed'"),
        ({"figure": {"kind": "bars", "x": "data", "series": "data"}}, "figure: got an axis twice"),
        ({"figure": {"kind": "bars", "x": "data", "series": "strategy"}}, "does not show the axis malicious"),
        (
            {"figure": {"kind": "bars", "x": "data", "series": "strategy", "measure": "acuracy"}},
            "unknown measure 'acuracy': did you mean 'accuracy'",
        ),
    ],
)
def test_what_is_wrong_is_named(content, changes, words):
    if "axes" in changes:
        content |= {"exclude": [], "figure": None}
    with pytest.raises(ScenarioError) as error:
        Study.parse(content | changes)
    assert words in str(error.value)


def test_a_file_is_named_in_its_errors(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("nme = 'x'")
    with pytest.raises(ScenarioError, match="bad.toml: unknown key of a study 'nme'"):
        Study.load(file)


def test_the_names_of_columns_are_taken(small):
    study = Study.parse({"name": "s", "title": "S", "axes": {"seed": [0]}})
    history = simulate(small.replace(rounds=1, validation_samples=50))
    (cell,) = study.cells()
    results = StudyResults(study, {cell: history}, {})
    columns = {*results.rounds.columns, *results.to_frame().columns}
    measured = {name for name in columns if not name.startswith("class_")}
    assert measured | {*results.failed.columns, *results.seeds.columns} == RESERVED_COLUMNS
    assert set(AXIS_TITLES) <= measured

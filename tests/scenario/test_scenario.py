import tomllib

import pytest
import tomli_w
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from fedpoison.errors import ScenarioError
from fedpoison.federation.messages import from_run_config, to_run_config
from fedpoison.scenario.fields import About, changed, fields_about
from fedpoison.scenario.scenario import Scenario

scenarios = st.builds(
    Scenario,
    seed=st.integers(0, 2**31),
    clients=st.integers(1, 500),
    rounds=st.integers(1, 99),
    lr=st.floats(1e-4, 1),
    malicious=st.floats(0, 1),
    attack=st.sampled_from(["none", "label-flip(mode=targeted, source=2)", "backdoor+alie(z=1.5)"]),
    strategy=st.sampled_from(["fedavg", "median"]),
    partition=st.sampled_from(["iid", "dirichlet(alpha=0.1)"]),
    tolerated=st.none() | st.integers(0, 9),
)


@given(scenarios)
def test_toml_and_run_config_are_read_back_to_an_equal_scenario(scenario):
    assert Scenario.parse(tomllib.loads(scenario.to_toml())) == scenario
    read, out, data = from_run_config(to_run_config(scenario))
    assert (read, out, data) == (scenario, None, None)
    assert read.run_id == scenario.run_id


def test_the_run_id_is_a_matter_of_content():
    assert Scenario(attack="label-flip()").run_id == Scenario(attack="label-flip").run_id
    assert Scenario(seed=1).run_id != Scenario(seed=2).run_id


def test_a_list_of_malicious_nodes_counts_as_their_number():
    scenario = Scenario(malicious_nodes=(3, 7))
    assert (len(scenario.malicious_nodes), scenario.byzantine) == (2, 2)


@pytest.mark.parametrize("other", [{"malicious_count": 3}, {"malicious_nodes": (3, 7)}])
def test_the_size_of_the_malicious_is_said_in_one_way(other):
    with pytest.raises(ScenarioError, match=f"got malicious and {next(iter(other))}, expected at most one"):
        Scenario.parse({"malicious": 0.5} | other)


def test_the_rule_tolerates_the_true_number_unless_told_otherwise():
    assert Scenario(malicious=0.2).byzantine == 20
    assert Scenario(malicious=0.2, participation=0.1).byzantine == 2
    assert Scenario(malicious=0.2, tolerated=5).byzantine == 5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"strategy": "krum", "malicious": 0.5}, "needs n > 2f \\+ 2: at least 103 updates, got 100"),
        ({"strategy": "kurm"}, "did you mean 'krum'"),
        ({"clintes": 3}, "unknown field 'clintes': did you mean 'clients'.*Choose from attack, batch_size"),
        ({"rounds": 0}, "rounds: .*greater than or equal to 1, got 0"),
        ({"lr": "fast"}, "lr: .*valid number.*got 'fast'"),
        ({"lr": float("nan")}, "lr"),
        ({"dataset": "mnits"}, "did you mean 'mnist'"),
        ({"model": "cmn"}, "did you mean 'cnn'"),
        ({"partition": "iidd"}, "did you mean 'iid'"),
        ({"malicious_nodes": (100,)}, "expected 0 to 99"),
        ({"attack": ""}, "got an empty text"),
    ],
)
def test_impossible_scenarios_are_refused_with_the_reason(fields, words):
    with pytest.raises(ScenarioError, match=words):
        Scenario.parse(fields)


def test_fields_are_selected_by_what_they_are_about():
    assert fields_about(Scenario, About.SIZE) == ("malicious", "malicious_count", "malicious_nodes")
    assert changed(Scenario(malicious_count=3), About.MALICIOUS) == ["malicious_count"]
    assert all(fields_about(Scenario, about) for about in About)


def test_a_file_that_is_not_toml_is_named(tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text("rounds = ")
    with pytest.raises(ScenarioError, match="scenario.toml: is not valid TOML"):
        Scenario.load(path)
    with pytest.raises(ScenarioError, match="cannot be read"):
        Scenario.load(tmp_path / "missing.toml")


def test_flowers_app_offers_every_field_with_its_default():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    defaults = to_run_config(Scenario())
    table = f"[tool.flwr.app.config]\n{tomli_w.dumps(defaults)}"
    assert project["tool"]["flwr"]["app"]["config"] == defaults, f"write in pyproject.toml:\n{table}"

"""A run parses each text of its scenario once, and builds each attack once."""

import copy
import pickle
from collections import Counter

import pytest

from clients import ATTACKS
from fedpoison.scenario import aggregation as pipelines
from fedpoison.scenario import specs
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

FIELDS = {
    "dataset": "digits",
    "train_samples": 400,
    "test_samples": 200,
    "clients": 10,
    "rounds": 2,
    "model": "mlp",
    "partition": "dirichlet(alpha=0.9)",
    "strategy": "nnm | krum(power=1)",
}


@pytest.fixture
def counted(monkeypatch):
    """Count the texts that are parsed, and the attacks that are built."""
    texts, built = Counter(), Counter()
    parse_call = specs.parse_call

    def parse(text):
        texts[str(text)] += 1
        return parse_call(text)

    for module in (specs, pipelines):
        monkeypatch.setattr(module, "parse_call", parse)
    build = specs.Call.build

    def count(call, **defaults):
        if call.name in ATTACKS:
            built[call.name] += 1
        return build(call, **defaults)

    monkeypatch.setattr(specs.Call, "build", count)
    return texts, built


def test_one_attack(counted):
    texts, built = counted
    simulate(Scenario.parse(FIELDS | {"malicious": 0.2, "attack": "ipm(epsilon=0.5)"}), workers=1)
    assert texts == dict.fromkeys(["dirichlet(alpha=0.9)", "nnm", "krum(power=1)", "ipm(epsilon=0.5)"], 1)
    assert built == {"ipm": 1}


def test_groups_with_a_goal(counted, tmp_path):
    texts, built = counted
    groups = ["ipm(epsilon=0.5): count=1, schedule=window(start=2)", "backdoor+ipm: count=1"]
    changes = {"groups": groups, "goal": "label-flip(mode=targeted)", "tolerated": 2}
    simulate(Scenario.parse(FIELDS | changes), workers=1, out=tmp_path)
    assert set(texts.values()) == {1}
    assert built == {"ipm": 2, "backdoor": 1, "label-flip": 1}


def test_a_changed_scenario_keeps_what_was_parsed(counted):
    scenario = Scenario.parse(FIELDS | {"attack": "ipm(epsilon=0.5)", "schedule": "once(round=2)"})
    texts, _ = counted
    texts.clear()
    changed = scenario.replace(seed=1, malicious=0.1).replace(dataset="mnist")
    assert changed.selection.groups[0].built_attack is scenario.selection.groups[0].built_attack
    assert not texts


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, Scenario.model_copy, lambda made: pickle.loads(pickle.dumps(made))],  # noqa: S301
)
def test_copies_are_equal(copied):
    groups = ["ipm(epsilon=0.5): count=1, schedule=once", "backdoor+scaled-update: share=0.1"]
    made = Scenario.parse(FIELDS | {"groups": groups})
    other = copied(made)
    assert other == made == Scenario.parse(FIELDS | {"groups": groups})
    assert (hash(other), other.run_id) == (hash(made), made.run_id)
    assert other.selection.groups[1].built_attack == made.selection.groups[1].built_attack
    assert other.aggregation == made.aggregation


def test_a_copy_with_another_value_does_not_keep_what_the_old_one_meant():
    made = Scenario.parse(FIELDS | {"attack": "ipm"})
    assert made.model_copy(update={"malicious": 0.3}).selection.malicious(1) > made.selection.malicious(1)

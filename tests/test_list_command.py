"""`fedpoison list` names everything that can be chosen."""

import json

import pytest


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("attacks", ["alie", "NeurIPS 2019", "colluding"]),
        ("strategies", ["krum", "n > 2f + 2", "byzantine"]),
        ("preaggregators", ["nnm", "AISTATS 2023", "n > 2f"]),
        ("optimizers", ["adam", "ICLR 2021", "history"]),
        ("datasets", ["mnist", "digits", "cifar10"]),
        ("models", ["cnn-mcmahan", "1.66M"]),
        ("partitions", ["dirichlet"]),
        ("schedules", ["sleeper", "rotating", "window"]),
    ],
)
def test_lists_name_everything(fedpoison, kind, words):
    code, out, _ = fedpoison("list", kind)
    assert code == 0
    assert all(word in out for word in words)


def test_an_entry_can_be_shown_whole(fedpoison):
    _, out, _ = fedpoison("list", "strategies", "krum")
    assert all(word in out for word in ("byzantine", "whole number", "precondition: n > 2f + 2", "O(n^2 d)"))


def test_lists_and_entries_are_objects_on_demand(fedpoison):
    _, out, _ = fedpoison("list", "attacks", "--json")
    listed = json.loads(out)
    assert listed["alie"]["paper"] == "Baruch et al., NeurIPS 2019"
    _, out, _ = fedpoison("list", "strategies", "krum", "--json")
    entry = json.loads(out)
    assert entry["name"] == "krum"
    assert [part["name"] for part in entry["parameters"]] == ["byzantine", "excluded", "power"]
    _, out, _ = fedpoison("list", "studies", "malicious_share", "--json")
    assert set(json.loads(out)["axes"]) == {"attack", "strategy", "malicious", "seed"}

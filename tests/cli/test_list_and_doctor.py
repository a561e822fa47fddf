"""`fedpoison list` names everything that can be chosen, `fedpoison doctor` what is there."""

import json

import pytest

from fedpoison.cli.doctor import check_pair


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


def test_a_list_without_a_kind_names_the_kinds(fedpoison):
    code, out, _ = fedpoison("list")
    assert (code, out.startswith("fedpoison list attacks|strategies|")) == (0, True)
    _, out, _ = fedpoison("list", "--json")
    assert json.loads(out)[:2] == ["attacks", "strategies"]


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


def test_doctor_tells_what_is_there(fedpoison):
    _, out, _ = fedpoison("doctor")
    assert all(word in out for word in ("torch", "data set digits", "hardware", "compatible"))


def test_doctor_explains_a_torch_that_does_not_fit():
    assert not check_pair("2.15.0", ["torch==2.15.0", "numpy"]).remedy
    assert "install the two together" in check_pair("2.14.0", ["torch==2.15.0"]).remedy
    assert "CPU-only" in check_pair("2.15.0+cpu", ["torch==2.15.0"]).found

"""What `fedpoison sweep` and `search` print for documents and for programs."""

import json
import re

import pytest

STUDY = """
name = "tiny"
title = "A tiny study"

[base]
dataset = "digits"
train_samples = 400
test_samples = 200
clients = 10
rounds = 1
model = "mlp-small"
batch_size = 8
participation = 0.8
malicious = 0.3
tolerated = 2

[axes]
attack = ["none", "non-finite-update"]
strategy = ["fedavg", "krum"]
seed = [0, 1]
"""


@pytest.fixture
def sweep(tmp_path, fedpoison):
    """Return a function that makes a study in which krum has to stop once, with seed 0."""
    file = tmp_path / "tiny.toml"
    file.write_text(STUDY)
    return lambda *options: fedpoison("sweep", file, "--out", tmp_path / "runs", "--jobs", 1, *options)


def test_a_sweep_is_one_object_for_programs(sweep, tmp_path):
    code, out, _ = sweep("--dry-run", "--json")
    planned = {"study": "tiny", "title": "A tiny study", "runs": 8, "complete": 0, "failed": 0, "missing": 8}
    assert (code, json.loads(out)) == (0, planned)
    code, out, _ = sweep("--json")
    assert (code, out.count("\n")) == (1, 1)
    found = json.loads(out)
    assert "NaN" not in out
    *whole, partial = found["combinations"]
    assert [(row["asked"], row["ended"]) for row in found["combinations"]] == [(2, 2)] * 3 + [(2, 1)]
    assert partial["place"] == {"attack": "non-finite-update", "strategy": "krum"}
    assert partial["means"] == {"accuracy": None, "worst_class_accuracy": None}
    assert all(0 < row["means"]["accuracy"] < 1 for row in whole)
    assert all(row["deviations"]["accuracy"] >= 0 for row in whole)
    (failure,) = found["failures"]
    assert (failure["seed"], failure["refused"]) == (0, True)
    assert found["path"] == str(tmp_path / "runs" / "studies" / "tiny")


def test_a_sweep_without_a_run_is_an_object_too(sweep):
    code, out, _ = sweep("--json", "--set", "strategy=krum", "--set", "tolerated=4")
    found = json.loads(out)
    assert (code, len(found["failures"])) == (1, 4)
    assert {(row["asked"], row["ended"]) for row in found["combinations"]} == {(2, 0)}
    assert all(row["means"] == {} for row in found["combinations"])


@pytest.mark.parametrize(("form", "mark"), [("latex", "\\toprule"), ("markdown", "|:--")])
def test_a_sweep_prints_nothing_else_than_its_table(sweep, form, mark):
    code, out, err = sweep("--format", form)
    assert code == 1
    assert mark in out
    assert "A tiny study" in out
    assert not any(words in out for words in ("plan:", "stopped", "results:", "came to the end"))
    assert all(words in err for words in ("plan:", "stopped", "results:", "came to the end"))


def test_a_search_prints_what_it_found_in_every_form(small, tmp_path, fedpoison):
    file = tmp_path / "scenario.toml"
    file.write_text(small.but(rounds=1).to_toml())
    arguments = ["search", file, "--attacks", "mimic,ipm", "--trials", 2, "--jobs", 1, "--out", tmp_path]
    code, out, _ = fedpoison(*arguments, "--json")
    found = json.loads(out)
    assert (code, out.count("\n")) == (0, 1)
    assert (found["strategy"], found["objective"], found["trials"]) == ("fedavg", "accuracy", 2)
    strengths = [trial["strength"] for trial in found["attacks"]]
    assert strengths == sorted(strengths, reverse=True)
    _, out, err = fedpoison(*arguments, "--format", "markdown")
    assert out.startswith("**Strongest against fedavg, by accuracy**\n")
    assert "strongest:" not in out
    assert f'strongest: --attack "{found["attacks"][0]["attack"]}"' in err


def test_a_mean_of_one_seed_has_no_deviation_though_others_have(tmp_path, fedpoison):
    file = tmp_path / "tiny.toml"
    exclude = '[[exclude]]\nstrategy = "krum"\nseed = 1\n'
    file.write_text(f"{STUDY}\n{exclude}")
    options = ["--set", "attack=none", "--out", tmp_path, "--jobs", 1, "--format", "markdown"]
    code, out, _ = fedpoison("sweep", file, *options)
    fedavg, krum = out.splitlines()[-2:]
    assert code == 0
    assert fedavg.count("±") == 2
    assert re.fullmatch(r"\| none +\| krum +\| +\d+\.\d \| +\d+\.\d \|", krum)

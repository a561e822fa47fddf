"""`fedpoison sweep`, `search` and `list studies`, for readers, documents and programs."""

import io
import json
import re

import pandas as pd
import pytest
from rich.console import Console

from fedpoison.cli.progress import BatchProgress, run_title
from fedpoison.cli.tables import TextTable
from fedpoison.results.history import History
from fedpoison.results.round import Failure
from fedpoison.studies.study import Study

STUDY = """
name = "tiny"
title = "A tiny study"
description = "It shows next to nothing."

[base]
dataset = "digits"
train_samples = 400
test_samples = 200
clients = 10
rounds = 2
model = "mlp-small"
batch_size = 8

[axes]
attack = ["none", "backdoor"]
strategy = ["fedavg", "krum"]
malicious = [0.2]
seed = [0, 1]

[figure]
kind = "heatmap"
x = "strategy"
series = "attack"
measure = ["accuracy", "success"]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(STUDY)
    return path


def test_a_sweep_is_planned_made_and_read(fedpoison, file, tmp_path):
    store = tmp_path / "runs"
    options = ["sweep", file, "--out", store, "--jobs", 1]
    code, out, _ = fedpoison(*options, "--dry-run")
    assert code == 0
    assert "It shows next to nothing." in out
    assert "plan: 8 runs, 0 complete, 0 failed, 8 to run\n" in out
    assert not store.exists()
    code, out, _ = fedpoison(*options)
    assert code == 0
    assert all(words in out for words in ("A tiny study, %", "worst class", "attack success", "±", "krum"))
    folder = store / "studies" / "tiny"
    assert out.rstrip().endswith(f"results and figure: {folder}")
    names = {path.name for path in folder.iterdir()}
    endings = ("parquet", "csv")
    assert names == {
        "study.toml",
        *(f"figure.{ending}" for ending in ("png", "svg", "pdf")),
        *(f"{frame}.{ending}" for frame in ("runs", "rounds", "seeds", "failures") for ending in endings),
    }
    assert (folder / "figure.png").stat().st_size > 1000
    models = {path: path.stat().st_mtime_ns for path in store.glob("*/model.safetensors")}
    code, out, _ = fedpoison(*options)
    assert "8 runs, 8 complete, 0 failed, 0 to run\n" in out
    assert "A tiny study, %" in out
    assert {path: path.stat().st_mtime_ns for path in store.glob("*/model.safetensors")} == models
    _, out, _ = fedpoison(*options, "--set", "rounds=20", "--dry-run")
    assert "8 runs, 0 complete, 0 failed, 8 to run\n" in out


def test_failures_are_listed_and_make_the_exit_code_1(fedpoison, file, tmp_path):
    changes = ["--set", "malicious=0.4", "--set", "rounds=1"]
    code, out, _ = fedpoison("sweep", file, "--out", tmp_path / "runs", "--jobs", 1, *changes)
    assert code == 1
    assert "8 runs, 0 complete, 4 failed, 4 to run" in out
    assert "failed attack=none, strategy=krum, malicious=0.4, seed=0: Krum(" in out
    assert "needs n > 2f + 2" in out
    assert "4 of 8 failed" in out
    assert [path.name[:5] for path in (tmp_path / "runs" / "studies").iterdir()] == ["tiny-"]


def test_a_mean_that_a_stopped_seed_would_flatter_is_not_shown(fedpoison, file, tmp_path):
    file.write_text(STUDY.replace('"none", "backdoor"', '"none", "non-finite-update"'))
    fields = {"rounds": 1, "malicious": 0.3, "participation": 0.8, "tolerated": 2}
    changes = [part for field, value in fields.items() for part in ("--set", f"{field}={value}")]
    code, out, _ = fedpoison("sweep", file, "--out", tmp_path / "runs", "--jobs", 1, *changes)
    assert code == 1
    place = "attack=non-finite-update, strategy=krum, malicious=0.3"
    assert f"* {place}: only 1 of 2 seeds completed, so there is no mean" in out
    assert f"stopped {place}, seed=0: round 1: Krum(" in out
    (folder,) = (tmp_path / "runs" / "studies").iterdir()
    seeds = pd.read_csv(folder / "seeds.csv").set_index(["attack", "strategy"])
    assert seeds.loc[("non-finite-update", "krum"), ["asked", "ended"]].tolist() == [2, 1]
    assert (seeds["ended"] < 2).sum() == 1
    assert pd.read_csv(folder / "failures.csv")["refused"].tolist() == [True]


def test_a_sweep_of_which_every_run_failed_is_written_too(fedpoison, file, tmp_path):
    changes = ["--set", "strategy=krum", "--set", "malicious=0.4"]
    code, out, _ = fedpoison("sweep", file, "--out", tmp_path / "runs", *changes)
    assert code == 1
    assert "4 of 4 failed" in out
    (folder,) = (tmp_path / "runs" / "studies").iterdir()
    assert pd.read_parquet(folder / "runs.parquet").empty
    assert len(pd.read_parquet(folder / "failures.parquet")) == 4


def test_the_steps_of_an_axis_can_be_set(fedpoison, file, tmp_path):
    changes = ["--set", "strategy=median, krum(byzantine=1)", "--set", "seed=3,4,5", "--set", "rounds=1"]
    code, out, _ = fedpoison("sweep", file, "--out", tmp_path / "runs", "--jobs", 1, *changes)
    assert code == 0
    assert "plan: 12 runs" in out
    (folder,) = (tmp_path / "runs" / "studies").iterdir()
    runs = pd.read_csv(folder / "runs.csv")
    assert set(runs["seed"]) == {3, 4, 5}
    assert set(runs["strategy"]) == {"median", "krum(byzantine=1)"}


@pytest.mark.parametrize(
    ("change", "runs"), [("attack=no attack,blended", 32), ("attack=backdoor, amplified", 16), ("seed=7", 56)]
)
def test_the_steps_of_an_axis_of_bundles_are_named(fedpoison, tmp_path, change, runs):
    changes = ["--set", change, "--set", "dataset=digits", "--set", "train_samples=1000"]
    changes += ["--set", "test_samples=300"]
    code, out, _ = fedpoison("sweep", "backdoors", *changes, "--out", tmp_path, "--dry-run")
    assert code == 0
    assert f"plan: {runs} runs" in out


def test_none_is_an_attack_and_unsets_what_can_be_unset(fedpoison, file, tmp_path):
    changes = ["--set", "attack=none", "--set", "tolerated=none", "--set", "rounds=1", "--set", "seed=0"]
    code, out, _ = fedpoison("sweep", file, "--out", tmp_path / "runs", "--jobs", 1, *changes)
    assert code == 0
    assert "plan: 2 runs, 0 complete, 0 failed, 2 to run" in out
    (written,) = (tmp_path / "runs" / "studies").glob("*/study.toml")
    assert "tolerated" not in written.read_text()
    assert Study.load(written).axes["attack"] == ["none"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["malicious_shar"], "unknown study 'malicious_shar': did you mean 'malicious_share'"),
        (["nowhere.toml"], "nowhere.toml: cannot be read"),
        (["malicious_share", "--set", "rounds"], "--set: got 'rounds', expected FIELD=VALUE"),
        (["malicious_share", "--set", "rounds=3", "--set", "rounds=4"], "--set rounds: given twice"),
        (["malicious_share", "--set", "ronds=1"], "unknown field or axis 'ronds': did you mean 'rounds'"),
        (["malicious_share", "--set", "seed=0,1,1"], "axes.seed: got 1 twice"),
        (["malicious_share", "--set", "rounds=0"], "rounds: Input should be greater than"),
        (["f_misspecified", "--set", "tolerated=none"], "axes.tolerated: got none, expected a value"),
        (["backdoors", "--set", "attack=none"], "unknown value of the axis attack 'none'"),
        (["heterogeneity", "--set", "partition=iid"], "partition: is set on the axis data"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(fedpoison, arguments, words):
    code, out, err = fedpoison("sweep", *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_the_studies_are_listed(fedpoison):
    code, out, _ = fedpoison("list", "studies")
    assert code == 0
    assert all(name in out for name in ("aggregators_x_attacks", "f_misspecified", "150"))
    _, out, _ = fedpoison("list", "studies", "malicious_share")
    assert all(
        words in out for words in ("How many attackers a rule withstands", "0.0, 0.1, 0.2, 0.3, 0.4", "150")
    )


def test_what_users_name_is_text_and_no_markup(fedpoison, file, tmp_path):
    file.write_text(STUDY.replace("A tiny study", "[bold]A[/bold] study").replace('"backdoor"', '"alie"'))
    store = tmp_path / "[old]"
    changes = ["--set", "rounds=1", "--set", "seed=0", "--set", "strategy=fedavg"]
    code, out, _ = fedpoison("sweep", file, "--out", store, "--jobs", 1, *changes)
    assert code == 0
    assert f"results and figure: {store}" in out
    assert "[bold]A[/bold] study, %" in out
    frame = pd.DataFrame({"[b]rule": ["[i]krum"], "[red]mean": ["50.0"]})
    console = Console(record=True)
    console.print(TextTable("[u]title", frame))
    shown = console.export_text()
    assert all(text in shown for text in ("[u]title", "[b]rule", "[i]krum", "[red]mean"))


def test_the_display_names_groups_of_attackers(small):
    scenario = small.replace(groups=["alie: share=0.1", "sign-flip: count=1"])
    assert run_title(scenario) == "fedavg under alie and sign-flip"


def test_the_display_counts_what_is_done_running_stopped_and_failed(small):
    one, two, three = (small.replace(seed=seed) for seed in range(3))
    progress = BatchProgress(3, small.rounds)
    callbacks = progress.callbacks()
    callbacks.on_start(one)
    callbacks.on_start(two)
    assert progress.status() == "0 of 3 done, 2 running"
    callbacks.on_end(one, Failure("gone"))
    callbacks.on_end(three, Failure("no answer to these updates", aggregation_failed=True))
    assert progress.status() == "2 of 3 done, 1 running, 1 stopped, 1 failed"
    callbacks.on_end(two, History(two, []))
    assert progress.status() == "3 of 3 done, 1 stopped, 1 failed"


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_displays_cut_the_news_and_nothing_else(small, width, monkeypatch):
    shown = Console(file=io.StringIO(), width=width, force_terminal=True)
    monkeypatch.setattr("fedpoison.cli.progress.Console", lambda **_: shown)
    with BatchProgress(22, small.rounds) as progress:
        progress.callbacks().on_start(
            small.replace(attack="scaled-update(factor=-10)", strategy="nnm | median")
        )
    assert re.search("runs: 0 of 22 done, 1 running .*ETA .*-:--:--.*…", shown.file.getvalue())


STOPPING = """
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
    file.write_text(STOPPING)
    return lambda *options: fedpoison("sweep", file, "--out", tmp_path / "runs", "--jobs", 1, *options)


def test_a_sweep_is_one_object_for_programs(sweep, tmp_path):
    code, out, _ = sweep("--dry-run", "--json")
    planned = {"study": "tiny", "title": "A tiny study", "runs": 8, "complete": 0, "failed": 0, "missing": 8}
    assert (code, json.loads(out)) == (0, planned)
    code, out, _ = sweep("--json")
    assert (code, out.count("\n")) == (1, 1)
    found = json.loads(out)
    assert ": NaN" not in out
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
    assert not any(words in out for words in ("plan:", "stopped", "results and figure:", "seeds completed"))
    assert all(words in err for words in ("plan:", "stopped", "results and figure:", "seeds completed"))


def test_a_search_prints_what_it_found_in_every_form(small, tmp_path, fedpoison):
    file = tmp_path / "scenario.toml"
    file.write_text(small.replace(rounds=1).to_toml())
    arguments = ["search", file, "--attacks", "mimic,ipm", "--trials", 2, "--jobs", 1, "--out", tmp_path]
    code, out, _ = fedpoison(*arguments, "--json")
    found = json.loads(out)
    assert (code, out.count("\n")) == (0, 1)
    assert (found["strategy"], found["objective"], found["trials"]) == ("fedavg", "accuracy", 2)
    strengths = [trial["strength"] for trial in found["attacks"]]
    assert strengths == sorted(strengths, reverse=True)
    _, out, err = fedpoison(*arguments, "--format", "markdown")
    assert out.startswith("**Strongest against fedavg on the validation set, by accuracy**\n")
    assert "strongest:" not in out
    assert "accuracy lost, points" in out
    lost = 100 * (max(strengths) - found["clean"])
    assert f" {lost:.2f} |" in out
    assert f"accuracy without an attack: {100 * (1 - found['clean']):.2f} %" in err
    assert err.rstrip().endswith(f"runs: {tmp_path}")
    assert f'strongest: --attack "{found["attacks"][0]["attack"]}"' in err


def test_a_mean_of_one_seed_has_no_deviation_though_others_have(tmp_path, fedpoison):
    file = tmp_path / "tiny.toml"
    exclude = '[[exclude]]\nstrategy = "krum"\nseed = 1\n'
    file.write_text(f"{STOPPING}\n{exclude}")
    options = ["--set", "attack=none", "--out", tmp_path, "--jobs", 1, "--format", "markdown"]
    code, out, _ = fedpoison("sweep", file, *options)
    fedavg, krum = out.splitlines()[-2:]
    assert code == 0
    assert fedavg.count("±") == 2
    assert re.fullmatch(r"\| none +\| krum +\| +\d+\.\d \| +\d+\.\d \|", krum)

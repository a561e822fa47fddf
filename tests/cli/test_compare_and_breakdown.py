"""`fedpoison compare` and `fedpoison breakdown`, as their user meets them."""

import json
import shutil
import sys

import pandas as pd
import pytest
from conftest import SMALL

from fedpoison import cli
from fedpoison.cli.options import parse_specs
from fedpoison.errors import ScenarioError


def test_tables_are_shown_although_they_cannot_be_written(fedpoison, tmp_path):
    compare = ["compare", *SMALL, "--attacks", "none", "--strategies", "fedavg", "--out", tmp_path]
    fedpoison(*compare)
    (folder,) = tmp_path.glob("compare-*")
    shutil.rmtree(folder)
    folder.touch()
    code, out, err = fedpoison(*compare)
    assert code == 2
    assert "Accuracy, %" in out
    assert f"error: {folder}: cannot be written (File exists)." in err


def test_compare_prints_tables_and_writes_figures(fedpoison, tmp_path):
    arguments = ["compare", *SMALL, "--attacks", "none,backdoor", "--strategies", "fedavg,krum(power=1)"]
    code, out, _ = fedpoison(*arguments, "--seeds", "0,1", "--out", tmp_path)
    assert code == 0
    for words in (
        "Accuracy, %",
        "Worst-class accuracy, %",
        "Attack success, %",
        "backdoor: accuracy by class, %",
        "paired over the seeds",
        "Where each strategy is weakest, %",
        "2 seeds, 95 % bootstrap intervals",
    ):
        assert words in out
    folder = next(tmp_path.glob("compare-*"))
    assert out.rstrip().endswith(f"figures and tables: {folder}")
    figures = {path.name for path in folder.glob("*.png")}
    assert {"accuracy-by-round.png", "attack-by-strategy.png", "classes-backdoor.png"} <= figures
    assert "confusion-backdoor-krum-power-1.png" in figures
    assert {path.name for path in folder.glob("*.csv")} >= {"accuracy.csv", "per-class.csv"}


def test_compare_reads_what_the_store_holds(fedpoison, tmp_path):
    arguments = ["compare", *SMALL, "--attacks", "none", "--strategies", "fedavg", "--out", tmp_path]
    fedpoison(*arguments)
    (model,) = tmp_path.glob("*/model.safetensors")
    written = model.stat().st_mtime_ns
    fedpoison(*arguments)
    assert model.stat().st_mtime_ns == written
    fedpoison(*arguments, "--fresh")
    assert model.stat().st_mtime_ns > written


@pytest.mark.parametrize(("form", "mark"), [("latex", "\\toprule"), ("markdown", "|:--")])
def test_the_command_prints_nothing_else_than_the_tables(small, tmp_path, fedpoison, form, mark):
    file = tmp_path / "scenario.toml"
    file.write_text(small.replace(rounds=1).to_toml())
    options = ["--attacks", "none", "--strategies", "fedavg,nnm | median", "--seeds", "0,1", "--jobs", "1"]
    code, out, err = fedpoison("compare", file, *options, "--out", tmp_path, "--format", form)
    assert code == 0
    assert mark in out
    assert "figures and tables" not in out
    assert "figures and tables" in err
    (table,) = tmp_path.glob("compare-*/differences.csv")
    assert set(pd.read_csv(table)["strategy"]) < {"fedavg", "nnm | median"}


def test_the_command_refuses_a_reference_that_it_does_not_run(tmp_path, fedpoison):
    code, _, err = fedpoison("compare", "--reference", "kurm", "--out", tmp_path)
    assert code == 2
    assert "unknown reference 'kurm': did you mean 'krum'" in err


@pytest.fixture
def command(small, tmp_path, monkeypatch, capsys):
    """Return a function that runs `fedpoison breakdown` and gives its stdout and its folder."""

    def run(*options):
        file = tmp_path / "scenario.toml"
        file.write_text(small.replace(rounds=1).to_toml())
        arguments = ["--strategies", "krum", "--shares", "0.2,0.5", "--jobs", "1", *options]
        arguments = ["breakdown", file, *arguments, "--out", tmp_path]
        monkeypatch.setattr(sys, "argv", ["fedpoison", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
        (folder,) = tmp_path.glob("breakdown-*")
        return capsys.readouterr().out, folder

    return run


def test_the_command_prints_the_table_and_writes_figure_and_points(command):
    out, folder = command()
    assert "Smallest malicious share that costs 10 points of accuracy" in out
    assert "figure and points" in out
    assert (folder / "breakdown.png").stat().st_size > 1000
    assert set(pd.read_csv(folder / "points.csv")["malicious"]) >= {0, 2, 3}


def test_the_command_prints_one_object(command):
    out, folder = command("--json", "--figure", "svg")
    found = json.loads(out)
    assert found["curves"][0]["undefined_from"] == pytest.approx(0.4)
    assert found["path"] == str(folder)
    assert (folder / "breakdown.svg").is_file()


def test_the_command_prints_latex_and_nothing_else(command):
    out, folder = command("--format", "latex", "--figure", "pdf")
    assert "\\toprule" in out
    assert "figure and points" not in out
    assert (folder / "breakdown.pdf").is_file()


def test_specs_that_mean_the_same_are_run_once_as_the_first_spells_them():
    rules = parse_specs(
        "strategies", "krum(), krum, nnm|median, krum(power=2), krum(power=1), nnm | median()"
    )
    assert rules == ["krum()", "nnm|median", "krum(power=1)"]
    assert parse_specs("attacks", "ipm, ipm(epsilon=0.1), alie+ipm, alie() + ipm") == ["ipm", "alie+ipm"]
    with pytest.raises(ScenarioError, match="unknown strategy 'kurm'"):
        parse_specs("strategies", "krum, kurm")

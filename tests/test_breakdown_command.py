"""`fedpoison breakdown`, as its user meets it."""

import json
import sys

import pandas as pd
import pytest

from fedpoison import cli


@pytest.fixture
def command(small, tmp_path, monkeypatch, capsys):
    """Return a function that runs `fedpoison breakdown` and gives its stdout and its folder."""

    def run(*options):
        file = tmp_path / "scenario.toml"
        file.write_text(small.but(rounds=1).to_toml())
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

"""`fedpoison new`: the files work as they are."""

import importlib

import pytest
from typer.testing import CliRunner

import fedpoison as fp
from fedpoison.cli.app import app
from fedpoison.errors import ScenarioError


def invoke(*arguments):
    result = CliRunner().invoke(app, ["new", *map(str, arguments)], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.mark.parametrize(("kind", "field"), [("rule", "strategy"), ("attack", "attack")])
def test_the_new_file_passes_its_test_and_runs(small, tmp_path, monkeypatch, kind, field):
    shown = invoke(kind, f"my-own-{kind}", "--folder", tmp_path)
    module = f"my_own_{kind}"
    name = f"{tmp_path / module}.py:MyOwn{kind.capitalize()}"
    assert f"fedpoison run {'--attack alie' if kind == 'rule' else '--strategy median'}" in shown
    assert name in shown
    assert shown.splitlines()[-1].startswith("files: ")
    monkeypatch.syspath_prepend(tmp_path)
    tests = importlib.import_module(f"test_{module}")
    getattr(tests, f"test_{module}_has_the_properties_of_its_card")()
    run = fp.simulate(small, rounds=1, malicious=0.34, **{field: name})
    assert f"{module}.py@" in getattr(run.scenario, field)


def test_files_are_never_overwritten_and_names_are_checked(tmp_path):
    invoke("rule", "mine", "--folder", tmp_path)
    for kind, name, message in [
        ("rule", "mine", "exists; choose another name"),
        ("rule", "1st", "expected letters, digits and hyphens"),
        ("rules", "other", "did you mean 'rule'"),
    ]:
        with pytest.raises(ScenarioError, match=message):
            invoke(kind, name, "--folder", tmp_path)

"""The pages that Sphinx generates from the code, the code in the pages, and the notebook."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields

import matplotlib.pyplot as plt
import nbformat
import pytest
import typer
from conftest import ROOT
from nbclient import NotebookClient

import fedpoison as fp
from clients import ATTACKS
from fedpoison.cli import describe as catalogue
from fedpoison.cli.app import COMMANDS, app
from fedpoison.errors import ScenarioError
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from strategies import OPTIMIZERS, PREAGGREGATORS, STRATEGIES

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
CARDED = {
    "attacks": ATTACKS,
    "strategies": STRATEGIES,
    "preaggregators": PREAGGREGATORS,
    "optimizers": OPTIMIZERS,
}


@pytest.mark.parametrize("kind", CARDED)
def test_a_page_has_a_section_for_every_entry_with_its_card_and_parameters(pages, kind):
    sections = dict(
        re.findall(r"^## `(.+?)`\n(.*?)(?=^## |\Z)", pages.catalogue_page(kind), re.DOTALL | re.MULTILINE)
    )
    assert sections.keys() == CARDED[kind].keys()
    for name, entry in CARDED[kind].items():
        assert catalogue.markdown(entry.card.paper) in sections[name]
        assert all(f"\n| `{parameter.name}` |" in sections[name] for parameter in fields(entry))


def test_a_parameter_is_explained_by_the_text_under_it():
    found = {
        parameter.name: parameter
        for entry in catalogue.entries("strategies")
        for parameter in entry.parameters
        if entry.name == "krum"
    }
    assert found["power"].meaning.startswith("Exponent of the distance: 2 is the paper's")
    assert (found["power"].values, found["power"].default) == ("`1`, `2`, `4`", "2")


def test_the_stages_that_an_attack_acts_on_are_named():
    stages = {entry.name: entry.facts["acts on"] for entry in catalogue.entries("attacks")}
    assert stages["label-flip"] == "data"
    assert stages["alie"] == "updates"
    assert stages["none"] == "nothing"
    assert stages["constrain-and-scale"] == "data, training, updates"


def test_every_field_of_a_scenario_has_a_row(pages):
    rows = re.findall(r"^\| `(\w+)` \|", pages.scenario_fields(), re.MULTILINE)
    assert rows == list(Scenario.model_fields)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ScenarioError, match="did you mean 'attacks'"):
        catalogue.entries("atacks")


def test_every_command_has_a_section_without_the_fields_of_the_scenario(pages):
    page = pages.command_page()
    for name in COMMANDS:
        assert f"## `fedpoison {name}`" in page
    assert "`--twin`" in page
    assert "`--batch-size`" not in page


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_in_the_pages_are_ones_that_there_are(path):
    commands = typer.main.get_command(app).commands
    for block in re.findall(r"^```\w*\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        for line in re.findall(r"^fedpoison (.+)$", block.replace("\\\n", ""), re.MULTILINE):
            name, *arguments = shlex.split(line, comments=True)
            commands[name].make_context(name, arguments)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_python_in_the_pages_compiles_and_uses_names_that_there_are(path):
    for code in code_blocks(path):
        compile(code, str(path), "exec")
        assert {*re.findall(r"\bfp\.(\w+)", code)} <= {*fp.__all__}


def code_blocks(page, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def in_shell(*command, folder):
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_package_of_the_guide_passes_its_tests_and_its_names_run(tmp_path):
    """Write the files of the page, and install them with their entry points as metadata."""
    (metadata,) = code_blocks("docs/extending.md", "toml")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    for block in code_blocks("docs/extending.md"):
        name, code = re.fullmatch(r"# (\S+\.py)\n(.*)", block, re.DOTALL).groups()
        (tmp_path / name).write_text(code)
    installed = tmp_path / "my_package-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 0.1\n")
    groups = tomllib.loads(metadata)["project"]["entry-points"]
    (installed / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
            for group, entries in groups.items()
        )
    )
    in_shell("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_package.py", folder=tmp_path)
    *_, run = re.findall(r"^fedpoison (run .+)$", (ROOT / "docs/extending.md").read_text(), re.MULTILINE)
    small = shlex.split("--clients 10 --train-samples 200 --test-samples 100 --model mlp-small --json")
    printed = json.loads(in_shell("-m", "fedpoison", *shlex.split(run), *small, folder=tmp_path))
    assert printed["rounds"] == 3
    assert printed["threat"].startswith("reversed-mean(factor=5")


def test_the_page_about_own_data_runs(tmp_path, monkeypatch, fedpoison):
    """Run all Python and all commands of the page in their order."""
    monkeypatch.chdir(tmp_path)
    page, names = (ROOT / "docs/own-data.md").read_text(), {}
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if language == "python":
            exec(block, names)  # noqa: S102  # it is our page
            continue
        name, *arguments = shlex.split(block.replace("\\\n", " ").removeprefix("fedpoison "))
        code, _, shown = fedpoison(name, *arguments, *(["--jobs", "1"] if name == "compare" else []))
        assert code == 0, shown
    classes = {StoredRun(path.parent).class_names for path in tmp_path.glob("runs/*/scenario.toml")}
    assert classes == {("grower 0", "grower 1", "grower 2"), ("brick", "grass")}
    assert names["run"].last.round == 3


def test_the_page_about_stored_runs_loads_the_model_that_the_run_saved(tmp_path, monkeypatch):
    """Run all Python of the page in its order."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in code_blocks("docs/stored-runs.md"):
        exec(compile(block, "docs/stored-runs.md", "exec"), names)  # noqa: S102  # the page's own code
    assert names["accuracy"] == pytest.approx(names["run"].history.to_frame()["accuracy"].iloc[-1])
    plt.close("all")


@pytest.mark.parametrize(
    ("words", "page"),
    [("which defence", "which-defence"), ("batchnorm", "own-models"), ("pretrained", "own-models")],
)
def test_the_search_of_the_pages_finds_the_words_of_readers(words, page):
    text = re.sub(r"^```.*?^```", "", (ROOT / f"docs/{page}.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    assert words in text.lower()


def test_the_command_of_the_first_page_is_that_of_make_run():
    command = re.compile(r"(?:^|/)(fedpoison compare .*\n.*)$", re.MULTILINE)
    texts = [(ROOT / name).read_text() for name in ("Makefile", "docs/index.md")]
    options = [shlex.split(command.search(text)[1].replace("\\\n", "")) for text in texts]
    pairs = [dict(zip(found[2::2], found[3::2], strict=True)) for found in options]
    for samples in ("--train-samples", "--test-samples"):  # the digits have fewer samples than that
        assert int(pairs[0].pop(samples)) == 2000
    assert pairs[1].pop("--dataset") == "digits"
    assert pairs[0] == pairs[1]


def test_the_first_result_is_as_the_first_page_says():
    """FedAvg recognises every class without an attack, and the median also under a label flip."""
    scenario = Scenario(dataset="digits", clients=10, malicious=0.3, rounds=6, epochs=2, batch_size=8)
    worst = {}
    for attack, strategy in (("none", "fedavg"), ("label-flip", "fedavg"), ("label-flip", "median")):
        last = fp.simulate(scenario.replace(attack=attack, strategy=strategy), device="cpu").last
        worst[attack, strategy] = last.worst_class_accuracy
        assert attack != "none" or last.accuracy > 0.95
    assert worst["none", "fedavg"] > 0.9
    assert worst["label-flip", "fedavg"] < 0.75
    assert worst["label-flip", "median"] > 0.85


PATH = ROOT / "experiments" / "notebooks" / "poisoning.ipynb"


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_it_is_committed_with_its_results_and_small():
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    kinds = {output.output_type for output in outputs(notebook)}
    assert kinds == {"display_data", "execute_result"}
    assert sum("image/png" in output.data for output in outputs(notebook)) >= 4
    assert PATH.stat().st_size < 400_000


@pytest.mark.filterwarnings("ignore")  # what the kernel's packages warn of
def test_it_runs_on_the_digits(monkeypatch, tmp_path):
    for name, value in (
        ("FEDPOISON_NOTEBOOK", "digits"),
        ("PYTHONPATH", str(ROOT)),
        ("IPYTHONDIR", str(tmp_path)),
        ("JUPYTER_RUNTIME_DIR", str(tmp_path)),
    ):
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(PATH, as_version=4)
    committed = [output.output_type for output in outputs(notebook)]
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    assert [output.output_type for output in outputs(notebook)] == committed

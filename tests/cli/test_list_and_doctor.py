"""`fedpoison list` names everything that can be chosen, completion too, `fedpoison doctor` what is there."""

import json
import os
import struct
import subprocess
import sys
from dataclasses import fields

import pytest
from conftest import ROOT

from fedpoison.cli.app import COMMANDS
from fedpoison.cli.catalogue import FILE
from fedpoison.cli.describe import REGISTRIES, built_in_catalogue
from fedpoison.cli.doctor import check_pair
from fedpoison.errors import ScenarioError
from fedpoison.registry import GROUPS


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
    assert [part["name"] for part in entry["parameters"]] == ["byzantine", "strict", "excluded", "power"]
    _, out, _ = fedpoison("list", "studies", "malicious_share", "--json")
    assert set(json.loads(out)["axes"]) == {"attack", "strategy", "malicious", "seed"}


@pytest.mark.parametrize("kind", ["attacks", "strategies"])
def test_no_name_of_an_entry_or_a_parameter_is_broken_at_80_columns(fedpoison, kind):
    registered = REGISTRIES[kind].entries()
    _, out, _ = fedpoison("list", kind, width=80)
    assert {*registered} <= set(out.split())
    longest = max(
        (len(part.name), name, part.name) for name, thing in registered.items() for part in fields(thing)
    )
    _, out, _ = fedpoison("list", kind, longest[1], width=80)
    assert longest[2] in out.split()
    assert max(map(len, out.splitlines())) <= 80


def test_doctor_tells_what_is_there(fedpoison):
    _, out, _ = fedpoison("doctor")
    assert all(word in out for word in ("torch", "data set digits", "hardware", "compatible"))


def test_doctor_explains_a_torch_that_does_not_fit():
    assert not check_pair("2.15.0", ["torch==2.15.0", "numpy"]).remedy
    assert "install the two together" in check_pair("2.14.0", ["torch==2.15.0"]).remedy
    assert "CPU-only" in check_pair("2.15.0+cpu", ["torch==2.15.0"]).found


STARTED = """
import sys
from fedpoison.cli import main
try:
    main()
except SystemExit:
    pass
heavy = {"torch", "pandas", "flwr", "ray", "pydantic", "matplotlib"}
print("loaded:", *sorted(heavy & set(sys.modules)))
"""


def started(*arguments, **variables):
    """Return the lines that a new process prints, of which the last names the slow libraries it loaded."""
    ran = subprocess.run(
        [sys.executable, "-c", STARTED, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", **variables},
    )
    return ran.stdout.splitlines()


def completed(line):
    words = str(len(line.split(" ")) - 1)
    return started(_FEDPOISON_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=words)


def test_the_list_of_all_commands_loads_no_command():
    *shown, loaded = started("--help")
    assert all(any(name in line for line in shown) for name in COMMANDS)
    assert loaded == "loaded:"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["attacks"], "label-flip"),
        (["strategies", "krum"], "byzantine"),
        (["studies"], "malicious_share"),
        (["studies", "malicious_share"], "runs: "),
    ],
)
def test_lists_load_no_slow_library(arguments, word):
    *shown, loaded = started("list", *arguments)
    assert any(word in line for line in shown)
    assert loaded == "loaded:"


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("fedpoison re", ["recommend", "report", "reproduce", "replay"]),
        ("fedpoison run --malicious-p", ["--malicious-partition", "--malicious-per-round"]),
        ("fedpoison run --attack backdoor+label", ["backdoor+label-flip"]),
        ("fedpoison compare --strategies krum,trimmed", ["krum,trimmed-mean"]),
        ("fedpoison baseline --dataset dig", ["digits"]),
        ("fedpoison run --engine l", ["local"]),
        ("fedpoison list opt", ["optimizers"]),
        ("fedpoison list attacks ali", ["alie", "alie-backdoor"]),
        ("fedpoison sweep mal", ["malicious_share"]),
    ],
)
def test_completion_offers_options_and_names_and_loads_no_slow_library(line, choices):
    assert completed(line) == [*choices, "loaded:"]


def test_the_catalogue_equals_the_code():
    """The list of what is built in is a file, because the code needs torch to describe itself."""
    fresh = json.loads(json.dumps(built_in_catalogue()))
    remedy = f"{FILE.name} differs from the code: run make format, or python -m fedpoison.cli.describe"
    assert json.loads(FILE.read_text(encoding="utf-8")) == fresh, remedy


def test_every_kind_has_its_group_of_entry_points():
    assert {kind: registry.group for kind, registry in REGISTRIES.items()} == GROUPS


NAMES = """
from dataclasses import dataclass
from strategies.base import RuleCard

NUMBER = 5


class NoDataclass:
    card = RuleCard(paper="-")
    minimum = 1

    def __call__(self, updates, weights=None, context=None): ...


@dataclass(frozen=True)
class NoCard:
    minimum = 1

    def __call__(self, updates, weights=None, context=None): ...
"""
MODULES = {
    "raises_at_import": "raise ZeroDivisionError('of all things')",
    "exits_at_import": "import sys; sys.exit(3)",
    "broken_names": NAMES,
}
"""Modules of the package that `installed` installs."""


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Return a function that installs a package, by the name `theirs`, with these entry points."""

    def install(entry_points):
        folder = tmp_path / "theirs-1.0.dist-info"
        folder.mkdir()
        for name, code in MODULES.items():
            (tmp_path / f"{name}.py").write_text(code)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(entry_points)
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_the_names_of_another_package_are_listed(fedpoison, installed):
    installed("[fedpoison.models]\ntheir-cnn = fedpoison.models:mlp\n")
    _, out, err = fedpoison("list", "models", "--json")
    assert {"their-cnn", "cnn"} < set(json.loads(out))
    assert err == ""
    assert "1 models" in fedpoison("doctor")[1]


@pytest.mark.parametrize("command", ["list attacks --json", "doctor"])
def test_a_group_of_entry_points_that_does_not_exist_is_named(fedpoison, installed, command):
    installed("[fedpoison.atacks]\nmine = theirs:Mine\n[other.atacks]\nmine = theirs:Mine\n")
    code, out, err = fedpoison(*command.split())
    told = " ".join((out if command == "doctor" else err).split())
    assert "theirs: unknown entry-point group 'fedpoison.atacks': did you mean 'fedpoison.attacks'?" in told
    assert "other" not in told
    assert code == (command == "doctor")


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("strategies", ("raises_at_import:Rule", "ZeroDivisionError: of all things")),
        ("strategies", ("exits_at_import:Rule", "SystemExit: 3")),
        ("strategies", ("broken_names:Missing", "has no attribute 'Missing'")),
        ("strategies", ("no_such_module_anywhere:Rule", "No module named 'no_such_module_anywhere'")),
        ("strategies", ("broken_names:NUMBER", "got 5, expected a dataclass with card.needs, minimum, ")),
        ("strategies", ("broken_names:NoDataclass", "expected a dataclass with card.needs")),
        ("strategies", ("broken_names:NoCard", "expected a dataclass with card.needs")),
        *((kind, ("broken_names:NUMBER", "got 5, expected a")) for kind in GROUPS if kind != "strategies"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_named_and_hides_no_other(fedpoison, installed, kind, entry):
    place, cause = entry
    good = {"strategies": "strategies.rules.median:Median", "models": "fedpoison.models:mlp"}
    others = f"fine = {good[kind]}" if kind in good else ""
    installed(f"[{GROUPS[kind]}]\nbroken = {place}\n{others}\n")
    code, out, err = fedpoison("list", kind, "--json")
    listed, told = json.loads(out), " ".join(err.split())
    assert code == 0
    assert {*REGISTRIES[kind].builtin} <= set(listed)
    assert "broken" not in listed
    assert ("fine" in listed) == (kind in good)
    assert f"package theirs: the entry point broken of the group {GROUPS[kind]}: " in told
    assert cause in told
    with pytest.raises(ScenarioError, match="package theirs: the entry point broken"):
        REGISTRIES[kind]["broken"]


def test_doctor_names_an_entry_point_that_cannot_be_used(fedpoison, installed):
    installed("[fedpoison.attacks]\nbroken = raises_at_import:Mine\n")
    code, out, _ = fedpoison("doctor")
    told = " ".join(out.split())
    assert code == 1
    assert "package theirs: the entry point broken of the group fedpoison.attacks: cannot be loaded" in told
    assert "Correct the package, install another version of it, or uninstall it." in told


def test_doctor_names_a_damaged_and_a_changed_file(fedpoison, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path / "cache")
    monkeypatch.delenv("FEDPOISON_DATA", raising=False)
    assert "downloaded at the first use" in " ".join(fedpoison("doctor")[1].split())
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        header = struct.pack(">HBB4I", 0, 8, 3, 2, 28, 28, 0)[:16]
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + bytes(2 * 784))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 2) + bytes(2))
    code, out, _ = fedpoison("doctor", "--data-dir", tmp_path)
    assert "train-images-idx3-ubyte differs from the published file" in "".join(out.split("\n")).replace(
        "  ", ""
    )
    assert code == 1
    (folder / "train-images-idx3-ubyte").write_bytes(b"")
    code, out, _ = fedpoison("doctor", "--data-dir", tmp_path)
    assert "is damaged" in " ".join(out.split())
    assert "delete it, and the next run downloads it again" in " ".join(out.split())
    assert code == 1

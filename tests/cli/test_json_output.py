"""What every command prints for programs is strict JSON, and so is every JSON file in a store."""

import json

import pytest
from auditing import UNTARGETED, made_card

from fedpoison.audits.card_folder import save_card
from fedpoison.cli.app import COMMANDS, load_command
from fedpoison.results.strict_json import to_json

TINY = [
    "--dataset", "digits", "--train-samples", 200, "--test-samples", 5, "--model", "mlp-small", "--rounds", 1,
]  # fmt: skip
"""Options of a run in which most classes have no test sample, so that measures are missing."""
FLEET = [*TINY, "--clients", 5, "--malicious-count", 1]
FLIP = "label-flip(mode=targeted, source=1, target=7)"
STUDY = """
[base]
dataset = "digits"
train_samples = 200
test_samples = 5
clients = 5
rounds = 1
model = "mlp-small"

[axes]
attack = ["none", "label-flip(mode=targeted, source=1, target=7)"]
seed = [0, 1]
"""
JOBS = ["--jobs", 1, "--json"]
WITHOUT_STORE = ("list", "doctor", "reproduce", "leaderboard", "recommend")
FAST = ["--rounds", 1, "--clients", 5, "--train-samples", 200, "--validation-samples", 50]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def strict(text):
    """Parse JSON as a reader that refuses NaN and Infinity."""

    def refuse(constant):
        raise ValueError(f"got {constant}")

    return json.loads(text, parse_constant=refuse)


def cards(store):
    """Return a folder with one card, next to the store."""
    return save_card(made_card("median"), store.with_name(f"{store.name}-cards")).parent


def arguments(command, store):
    """Return the arguments of a short call of a command."""
    study = store / "tiny.toml"
    study.write_text(STUDY)
    return {
        "run": [*FLEET, "--attack", FLIP, "--twin", "--keep-updates", 1, "--json"],
        "compare": [*FLEET, "--attacks", f"none,{FLIP}", "--strategies", "fedavg", "--seeds", "0,1", *JOBS],
        "breakdown": [*FLEET[:-2], "--strategies", "krum", "--shares", 0.4, *JOBS],
        "sweep": [study, *JOBS],
        "audit": ["--strategy", "median", "--dataset", "digits", *FAST, *JOBS],
        "search": [*FLEET, "--attacks", "ipm", "--trials", 1, "--confirm", 1, *JOBS],
        "leaderboard": ["show", "--json"],
        "recommend": ["--clients", 10, "--cards", cards(store), "--json"],
        "tune": [*FLEET, "--strategy", "slsgd", "--attacks", "ipm", "--trials", 2, "--confirm", 1, *JOBS],
        "baseline": [*TINY, "--attack", FLIP, "--json"],
        "reproduce": ["byzfl-quickstart", "--list", "--json"],
        "list": ["attacks", "--json"],
        "doctor": ["--json"],
    }[command]


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"report", "replay", "prune", "new"}))
def test_every_command_prints_strict_json(fedpoison, store, command, monkeypatch):
    monkeypatch.setattr("fedpoison.cli.audit.LATEST", UNTARGETED)
    stored = [] if command in WITHOUT_STORE else ["--out", store]
    code, out, _ = fedpoison(command, *arguments(command, store), *stored)
    assert code == 0 or command == "doctor"  # its exit code depends on the machine
    assert out.count("\n") == 1
    assert strict(out)


def test_a_replay_and_a_pruned_model_print_strict_json(fedpoison, store):
    _, out, _ = fedpoison("run", *arguments("run", store), "--out", store)
    found = strict(out)
    assert None in found["per_class_accuracy"]
    _, out, _ = fedpoison("replay", found["path"], "--round", 1, "--strategies", "median,krum", "--json")
    assert strict(out)["results"][0]["strategy"] == "median"
    few = ["--shares", 0.5, "--samples", 20, "--epochs", 1]
    _, out, _ = fedpoison("prune", found["path"], *few, "--save", store / "pruned.safetensors", "--json")
    assert [model["removed"] for model in strict(out)["models"]] == [0, strict(out)["neurons"] // 2]
    assert (store / "pruned.safetensors").is_file()
    _, out, _ = fedpoison("prune", found["path"], *few)
    assert "fine-pruning of " in out
    assert "clean samples" in out


def test_every_command_that_writes_no_file_for_people_has_the_option():
    having = {name for name in COMMANDS if any("--json" in part.opts for part in load_command(name).params)}
    assert having == COMMANDS.keys() - {"report", "new"}


def test_every_json_file_of_a_store_is_strict(fedpoison, store):
    fedpoison("run", *arguments("run", store), "--out", store)
    fedpoison("run", *FLEET, "--lr", 1e30, "--out", store)  # it fails
    files = [path for path in store.rglob("*") if path.suffix in (".json", ".jsonl")]
    names = {path.name for path in files}
    assert names - {"card.json"} == {"environment.json", "rounds.jsonl", "failure.json"}
    for path in files:
        text = path.read_text(encoding="utf-8")
        for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
            strict(part)


def test_numbers_that_are_not_finite_are_null_at_any_depth():
    values = {"a": [float("nan"), {"b": (float("inf"), -float("inf"), 0.5, 1, True, None)}]}
    assert strict(to_json(values)) == {"a": [None, {"b": [None, None, 0.5, 1, True, None]}]}
    assert to_json({"a": [1, 2]}, compact=True) == '{"a":[1,2]}'

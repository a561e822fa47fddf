"""The command line, as its user meets it, and which fields of a file a command takes."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
import tomli_w
from conftest import ROOT, SMALL, heed_ctrl_c

from fedpoison import __version__
from fedpoison.cli.app import COMMANDS, load_command
from fedpoison.scenario.scenario import Scenario


def test_json_is_one_object_and_nothing_else(fedpoison, tmp_path):
    code, out, _ = fedpoison("run", *SMALL, "--attack", "backdoor", "--json", "--out", tmp_path)
    result = json.loads(out)
    assert code == 0
    assert out.count("\n") == 1
    assert {
        "run_id", "accuracy", "per_class_accuracy", "worst_class_accuracy", "attack_success_rate", "loss",
        "rounds", "seconds", "dataset", "path",
    } <= set(result)  # fmt: skip
    assert len(result["per_class_accuracy"]) == 10
    assert (result["rounds"], result["dataset"]) == (2, "digits")
    assert (Path(result["path"]) / "model.safetensors").is_file()


def test_a_run_reports_class_by_class(fedpoison, tmp_path):
    code, out, _ = fedpoison("run", *SMALL, "--attack", "scaled-update", "--strategy", "krum", "-o", tmp_path)
    assert code == 0
    assert "Accuracy by class" in out
    assert "rejected 100.0 % of the malicious" in out


def test_the_twin_shows_the_damage_and_is_kept(fedpoison, tmp_path):
    arguments = ["run", *SMALL, "--attack", "backdoor+scaled-update", "--twin", "--out", tmp_path]
    code, out, _ = fedpoison(*arguments, "--json")
    result = json.loads(out)
    assert code == 0
    assert len(result["damage_per_class"]) == 10
    assert result["damage_per_class"] != [0] * 10
    assert result["attack_success_rate"] is not None
    assert result["twin_attack_success_rate"] is not None
    assert result["twin_accuracy"] > result["accuracy"]
    assert result["malicious_distance"] > 0
    model = tmp_path / result["twin_run_id"] / "model.safetensors"
    written = model.stat().st_mtime_ns
    code, out, _ = fedpoison(*arguments)
    assert code == 0
    assert model.stat().st_mtime_ns == written
    assert all(words in out for words in ("clean run", "attacked", "difference", "% in the clean run)"))


def test_groups_are_given_one_after_the_other(fedpoison, tmp_path):
    groups = ["label-flip: share=0.1, schedule=once(round=2)", "ipm: nodes=(3, 4)"]
    options = [part for group in groups for part in ("--group", group)]
    code, out, _ = fedpoison("run", *SMALL, *options, "--json", "--out", tmp_path)
    assert code == 0
    result = json.loads(out)
    assert result["threat"] == "label-flip and ipm"
    stored = Scenario.load(Path(result["path"]) / "scenario.toml")
    assert [group.to_spec() for group in stored.groups] == groups


def test_an_idle_attack_is_warned_of_on_stderr(fedpoison, tmp_path):
    options = ["--rounds", "1", "--json", "--out", tmp_path]
    code, out, err = fedpoison("run", *SMALL, *options, "--attack", "alie")
    assert code == 0
    assert out.count("\n") == 1
    assert "warning: the attack alie has no effect: z = 0 for 2 of 10 clients" in err
    _, _, err = fedpoison("run", *SMALL, *options, "--attack", "ipm")
    assert "warning" not in err
    comparing = ["--attacks", "alie", "--strategies", "fedavg,median", "--rounds", "1", "--out", tmp_path]
    _, _, err = fedpoison("compare", *SMALL, *comparing)
    assert err.count("has no effect") == 1


def test_options_override_the_file(fedpoison, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text(Scenario(dataset="digits", clients=5, rounds=9, model="mlp", seed=4).to_toml())
    code, out, _ = fedpoison("run", file, "--rounds", "1", "--json", "--out", tmp_path)
    assert code == 0
    result = json.loads(out)
    stored = Scenario.load(Path(result["path"]) / "scenario.toml")
    assert (stored.rounds, stored.clients, stored.seed) == (1, 5, 4)


def test_an_option_overrides_the_file_even_with_the_default_value(fedpoison, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text(Scenario(dataset="digits", rounds=1, model="mlp", malicious=0.4, lr=0.3).to_toml())
    _, out, _ = fedpoison("run", file, "--malicious", "20%", "--lr", "0.1", "--json", "--out", tmp_path)
    stored = Scenario.load(Path(json.loads(out)["path"]) / "scenario.toml")
    assert (stored.malicious, stored.lr, stored.rounds) == (0.2, 0.1, 1)


def test_a_run_prints_its_folder_last(fedpoison, tmp_path):
    _, out, _ = fedpoison("run", *SMALL, "--rounds", "1", "--out", tmp_path)
    (folder,) = tmp_path.iterdir()
    assert out.rstrip().endswith(str(folder))


@pytest.mark.parametrize(
    ("command", "pattern"),
    [
        ("compare --attacks none --strategies fedavg --jobs 1 --seeds 0", "compare-*"),
        ("breakdown --attacks ipm --strategies fedavg --shares 0.4 --jobs 1", "breakdown-*"),
        ("baseline", "central-*"),
        ("search --attacks ipm --trials 1 --confirm 0 --jobs 1", ""),
    ],
)
def test_the_folder_of_the_results_is_printed_last(fedpoison, tmp_path, command, pattern):
    small = ["--dataset", "digits", "--train-samples", 400, "--model", "mlp-small", "--rounds", 1]
    name, *options = command.split()
    size = [] if name == "baseline" else ["--clients", 5]
    code, out, _ = fedpoison(name, *small, *size, *options, "--out", tmp_path)
    (folder,) = tmp_path.glob(pattern) if pattern else [tmp_path]
    assert code == 0
    assert out.rstrip().endswith(f": {folder}")


def test_no_warning_of_flower_about_its_own_settings_is_shown(fedpoison, tmp_path):
    told = []
    options = ["--strategy", "flwr:FedAvg", "--rounds", "1", "--out", tmp_path]
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("flwr").addHandler(handler)
    try:
        code, _, err = fedpoison("run", *SMALL, *options)
    finally:
        logging.getLogger("flwr").removeHandler(handler)
    assert (code, told) == (0, [])
    assert "fraction_evaluate" not in err


def test_an_attack_without_use_for_the_baseline_is_refused_before_any_training(fedpoison, tmp_path):
    for attack in ("sign-flip", "backdoor+alie", "pgd"):
        code, out, err = fedpoison("baseline", "--dataset", "digits", "--attack", attack, "--out", tmp_path)
        assert (code, out) == (2, "")
        assert f"attack {attack}: changes updates or training" in err
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_printed(fedpoison):
    assert fedpoison("--version") == (0, f"fedpoison {__version__}\n", "")


def test_a_mistyped_command_gets_one_suggestion(fedpoison):
    code, out, err = fedpoison("rnu")
    assert (code, out) == (2, "")
    assert "error: unknown command 'rnu': did you mean 'run'? Choose from audit, baseline" in err
    assert err.count("did you mean") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_says_what_each_argument_is(fedpoison, name):
    _, out, _ = fedpoison(name, "--help")
    command = load_command(name)
    assert command.help.partition("\n")[0] == COMMANDS[name]
    for argument in (part for part in command.params if isinstance(part, click.Argument)):
        assert argument.help
        assert argument.help[:40] in out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_cuts_nothing_at_80_columns(fedpoison, monkeypatch, name):
    _, out, _ = fedpoison(name, "--help", width=80)
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    words = {word.strip(",") for word in out.split()}
    options = [part for part in load_command(name).params if isinstance(part, click.Option)]
    assert {each for part in options for each in [*part.opts, *part.secondary_opts]} <= words


def test_the_help_has_ranges_choices_and_defaults_in_words(fedpoison):
    _, out, _ = fedpoison("run", "--help")
    shown = " ".join(out.replace("│", " ").split())
    for words in (
        "--workers INTEGER Number of clients trained in parallel. At least 1. Default: one per CPU.",
        "--rounds INTEGER Number of training rounds. At least 1. Default: 10.",
        "--malicious SHARE Share of malicious clients. From 0 to 1. Default: 0.2.",
        "--participation SHARE Share of the clients that train per round. More than 0, at most 1.",
        "--momentum NUMBER Momentum of the clients' SGD. At least 0, less than 1. Default: 0.0.",
        "--precision TEXT Number format in training. One of fp32, bf16. Default: fp32.",
        "or Flower's runtime. One of local, ray, flower. Default: local.",
    ):
        assert words in shown
    assert "RANGE" not in shown


@pytest.mark.parametrize("field", Scenario.model_fields)
def test_every_field_is_an_option(fedpoison, field):
    _, out, _ = fedpoison("run", "--help")
    name = "group" if field == "groups" else field  # given once for each group
    assert f"--{name.replace('_', '-')}" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--strategy", "kurm"], "did you mean 'krum'"),
        (["run", "--strategy", "krum", "--malicious", "0.5"], "needs n > 2f + 2"),
        (["run", "--rounds", "0"], "rounds:"),
        (["run", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["list", "atacks"], "did you mean 'attacks'"),
        (["list", "attacks", "ailie"], "did you mean 'alie'"),
        (["compare", "--attacks", ","], "--attacks: got nothing"),
        (["run", "--group", "alie: nodes=1", "--group", "ipm: nodes=1"], "in more than one group"),
        (["run", "--schedule", "windw"], "did you mean 'window'"),
        (["compare", "--seeds", "a"], "--seeds: got 'a'"),
        (["baseline", "--dataset", "digits", "--attack", "sign-flip"], "changes updates or training"),
        (["compare", "--attacks", "none label-flip"], "expected names separated by commas: none,label-flip"),
        (["run", "--strategy", "krum(byzantine=3"], "got 'krum(byzantine=3', expected a closing parenthesis"),
        (["run", "--partition", "dirichlet(0.1)"], "got '0.1', expected parameter=0.1. Name the parameter"),
        (
            ["run", "--malicious", "20"],
            "malicious: Input should be less than or equal to 1, got 20.0, expected a share",
        ),
        (["run", "--malicious", "a"], "got 'a', expected a share such as 0.2 or 20%"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(fedpoison, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = fedpoison(*arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_an_unknown_key_in_a_file_is_named_with_the_choices(fedpoison, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text("clintes = 3")
    code, _, err = fedpoison("run", file)
    assert code == 2
    assert "unknown field 'clintes': did you mean 'clients'? Choose from attack, batch_size" in err


@pytest.mark.parametrize(
    ("option", "value", "size"),
    [("malicious", 0.4, 2), ("malicious-count", 3, 3), ("malicious-nodes", "1", 1)],
)
def test_an_option_takes_the_place_of_another_way_to_say_the_size(fedpoison, tmp_path, option, value, size):
    file = tmp_path / "scenario.toml"
    file.write_text("malicious_count = 1\nclients = 5\nrounds = 1\ndataset = 'digits'\nmodel = 'mlp'\n")
    _, out, _ = fedpoison("run", file, f"--{option}", value, "--json", "--out", tmp_path)
    (group,) = Scenario.load(Path(json.loads(out)["path"]) / "scenario.toml").attackers
    assert group.size(5) == size


def test_what_is_not_measured_is_null_and_a_dash(fedpoison, tmp_path):
    flip = ["--attack", "label-flip(mode=targeted, source=1, target=7)", "--test-samples", 4]
    run = ["run", *SMALL, *flip, "--out", tmp_path]
    _, out, _ = fedpoison(*run, "--json")
    assert "NaN" not in out
    assert json.loads(out)["source_to_target_rate"] is None
    _, out, _ = fedpoison(*run)
    assert "nan" not in out


def test_the_baseline_compares_clean_and_poisoned(fedpoison, tmp_path):
    options = [
        "--dataset",
        "digits",
        "--model",
        "mlp",
        "--rounds",
        "5",
        "--lr",
        "0.05",
        "--malicious",
        "0.9",
        "--out",
        tmp_path,
    ]
    code, out, _ = fedpoison("baseline", *options, "--attack", "label-flip(mode=random)")
    assert code == 0
    assert "difference" in out
    shares = [
        float(line.split("accuracy ")[1].split(" %")[0]) for line in out.splitlines() if "accuracy " in line
    ]
    assert shares[0] > 85
    assert shares[1] < shares[0] - 20


def test_ctrl_c_ends_cleanly_and_keeps_what_was_done(tmp_path):
    options = ["--dataset", "digits", "--rounds", "500", "--model", "mlp", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "fedpoison", "run", *options],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        preexec_fn=heed_ctrl_c,
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 5000 for path in tmp_path.glob("*/rounds.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished work is kept" in err
    assert "Traceback" not in err


PLAIN = """
dataset = "digits"
train_samples = 400
test_samples = 200
model = "mlp-small"
batch_size = 8
rounds = 1
"""
OTHERS = {
    "attack": "alie",
    "strategy": "krum(byzantine=9)",
    "seed": 7,
    "groups": ["alie: count=2"],
    "goal": "backdoor",
    "malicious": 0.4,
    "malicious_count": 3,
    "malicious_nodes": [1],
    "malicious_per_round": 1,
    "clients": 7,
    "partition": "dirichlet(alpha=0.1)",
    "epochs": 3,
    "steps": 2,
    "persistent_momentum": True,
    "proximal": 3.0,
    "tolerated": 1,
    "root_samples": 9,
    "weights": "uniform",
}


def test_what_a_command_takes_from_no_file_is_said(fedpoison, tmp_path):
    file = tmp_path / "scenario.toml"
    file.write_text('dataset = "digits"\nattack = "alie"\nseed = 7\nmodel = "mlp-small"\nrounds = 1\n')
    options = ("--attacks", "none", "--strategies", "fedavg", "--jobs", 1, "--out", tmp_path / "runs")
    code, _, err = fedpoison("compare", file, *options)
    assert code == 0
    assert "attack, seed not used, because the command sets these fields" in err
    assert "not used" not in fedpoison("run", file, "--out", tmp_path / "runs")[2]


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        ("compare --attacks none --strategies fedavg --jobs 1", "attack groups strategy seed"),
        (
            "breakdown --strategies fedavg --shares 0.5 --clients 4 --jobs 1",
            "attack strategy seed malicious malicious_count malicious_nodes malicious_per_round",
        ),
        ("search --attacks ipm --trials 1 --jobs 1", "attack groups goal"),
        (
            "baseline",
            (
                "clients partition epochs steps persistent_momentum proximal strategy tolerated root_samples "
                "weights"
            ),
        ),
    ],
)
def test_what_a_command_sets_itself_is_not_taken_from_the_file(fedpoison, tmp_path, command, unused):
    """The runs are those of the file without these fields, by their content."""
    name, *options = command.split()
    fields = {field: OTHERS[field] for field in unused.split()}
    made = []
    for text in (PLAIN, PLAIN + tomli_w.dumps(fields)):
        file, store = tmp_path / "scenario.toml", tmp_path / f"runs-{len(made)}"
        file.write_text(text)
        code, _, err = fedpoison(name, file, *options, "--out", store)
        assert code == 0, err
        assert ("not used" in err) == (text != PLAIN)
        made.append({path.parent.name for path in store.glob("*/model.safetensors")})
    assert made[0]
    assert made[1] == made[0]


CODE = """
import sys

import numpy as np
from torch import nn


def wide(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, classes + 1))


def raising(shape, classes):
    raise RuntimeError("no such layer")


def leaving(shape, classes):
    sys.exit("usage: my_code.py DATA")


def boom():
    raise OSError("the disk is full")
"""


@pytest.fixture
def own_inputs(tmp_path, monkeypatch):
    """Write data, code and broken files of a user into the current folder."""
    monkeypatch.chdir(tmp_path)
    features, labels = np.eye(2, 4)[np.arange(40) % 2], np.arange(40) % 2
    np.savez(tmp_path / "even.npz", x=features, y=labels)
    np.savez(tmp_path / "uneven.npz", x=features, y=labels[1:])
    (tmp_path / "my_code.py").write_text(CODE)


@pytest.mark.usefixtures("own_inputs")
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("dataset", "npz(path=none.npz)", "none.npz: does not exist; give the path of a file"),
        ("dataset", "npz(path=uneven.npz)", "got 40 samples but 39 labels, expected the same number"),
        ("dataset", "csv(path=none.csv, label=kind)", "none.csv: does not exist; give the path of a file"),
        ("dataset", "my_code.py:boom", "my_code.py:boom: the code raised OSError: the disk is full"),
        ("model", "my_code.py:wide", "returned a tensor of shape (2, 3) for 2 samples, expected (2, 2)"),
        ("model", "my_code.py:raising", "the code raised RuntimeError: no such layer; correct the code"),
        (
            "model",
            "my_code.py:leaving",
            "the code raised SystemExit: usage: my_code.py DATA; correct the code",
        ),
        ("model", "my_code.py:missing", "my_code.py: got the name 'missing', expected one of boom, leaving"),
        (
            "initial",
            "none.safetensors",
            "initial: none.safetensors does not exist, expected a file of weights",
        ),
        (
            "initial",
            "uneven.npz",
            "uneven.npz cannot be loaded (it is no file of torch, or contains more than",
        ),
    ],
)
def test_a_wrong_input_ends_the_command_with_one_line(fedpoison, option, value, words):
    """No traceback, and no progress line before the error."""
    chosen = {"dataset": "npz(path=even.npz)", "model": "mlp-small", "clients": "3", option: value}
    code, out, err = fedpoison("run", *(part for name in chosen for part in (f"--{name}", chosen[name])))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert words in err

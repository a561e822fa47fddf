"""The page "On a real deployment": a SuperLink, four SuperNodes, our app, and the example app with a rule."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from contextlib import ExitStack

import pytest
import torch
from conftest import ROOT, timeless
from flwr.app import Context, RecordDict

from fedpoison.engines import client_app
from fedpoison.engines import flower as runtime
from fedpoison.engines.guard import guarded_program
from fedpoison.errors import EngineError
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line) for language, block in BLOCKS if not language for line in block.splitlines()]
"""Commands of the page, in its order."""
PATIENCE = 480.0
"""Longest wait for a condition, in seconds."""


class Deployment:
    """A SuperLink and SuperNodes, started by the commands of the page with free ports."""

    def __init__(self, folder, stack):
        ports = {
            port: str(runtime._free_port()) for port in sorted(set(re.findall(r"\b(?:80|91)\d\d\b", PAGE)))
        }
        assert len(ports) == 5
        self.folder, self._ports = folder, ports
        self.environment = runtime._environment(folder) | {"OMP_NUM_THREADS": "1"}
        (connection,) = [block for language, block in BLOCKS if language == "toml"]
        (folder / "flwr").mkdir(exist_ok=True)
        (folder / "flwr" / "config.toml").write_text(self._here(connection), encoding="utf-8")
        links = [command for command in COMMANDS if command[0] == "flower-superlink"]
        clients = [command for command in COMMANDS if command[0] == "flower-supernode"]
        assert (len(links), len(clients)) == (1, 4)
        for number, command in enumerate([*links, *clients]):
            sink = stack.enter_context((folder / f"{number}.log").open("wb"))
            options = {"env": self.environment, "stdout": sink, "stderr": sink, "cwd": folder}
            stack.enter_context(guarded_program([self._here(word) for word in command], **options))
        self._await_clients(len(clients))

    def _here(self, text):
        return re.sub("|".join(self._ports), lambda port: self._ports[port[0]], text)

    def _await_clients(self, number):
        """Wait until the page's command lists all SuperNodes as online."""
        (command,) = [command for command in COMMANDS if command[:2] == ["flwr", "supernode"]]
        deadline = time.monotonic() + PATIENCE
        listed = ""
        while listed.count('"online"') < number:
            assert time.monotonic() < deadline, listed + self.logs()
            listed = self._flwr([*command, "--format", "json"], ROOT)

    def run(self, command, app, out):
        """Run a command of the page in the folder of an app until the run ends, and return its log."""
        place = next(number for number, word in enumerate(command) if "out=" in word)
        config = re.sub(r'out=".*?"', f'out="{out}"', command[place])
        return self._flwr([*command[:place], config, *command[place + 1 :]], app)

    def _flwr(self, command, folder):
        done = subprocess.run(
            command, env=self.environment, cwd=folder, capture_output=True, text=True, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
        return done.stdout + done.stderr

    def logs(self):
        return "\n".join(
            path.read_text(errors="replace")[-3000:] for path in sorted(self.folder.glob("*.log"))
        )


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    with ExitStack() as stack:
        yield Deployment(tmp_path_factory.mktemp("deployment"), stack)


def runs():
    """Return the commands of the page that start a run."""
    return [command for command in COMMANDS if command[:2] == ["flwr", "run"]]


@pytest.mark.flower
def test_our_app_gives_the_bits_of_the_local_engine(deployment, tmp_path):
    command = runs()[0]
    log = deployment.run(command, ROOT, tmp_path / "there")
    fields = {name: json.loads(value) for name, value in re.findall(r'([\w-]+)=("[^"]*"|\S+)', command[-1])}
    scenario = Scenario.parse(
        {name: value for name, value in fields.items() if name not in ("out", "checkpoint-every")}
    )
    assert len(scenario.selection.malicious(1)) == 1
    here = simulate(scenario, out=tmp_path / "here")
    there = StoredRun(tmp_path / "there" / scenario.run_id)
    assert there.complete, log + deployment.logs()
    assert [timeless(record) for record in there.history.records] == [
        timeless(record) for record in here.records
    ]
    weights, expected = there.weights(), StoredRun(here.path).weights()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.flower
def test_an_app_with_its_own_average_runs_with_a_rule_and_an_attack(deployment, tmp_path):
    folder = next(command for command in COMMANDS if command[0] == "cd")[1]
    log = deployment.run(runs()[1], ROOT / folder, tmp_path / "report.json")
    assert (tmp_path / "report.json").is_file(), log + deployment.logs()
    report = json.loads((tmp_path / "report.json").read_text())
    assert [*report["accuracy"]] == ["0", "1"]
    assert report["accuracy"]["1"] > report["accuracy"]["0"]
    rows = report["rounds"]
    assert len({row["node"] for row in rows}) == len(rows) == 4
    assert sum(row["trust"] for row in rows) == pytest.approx(1)
    attacked = max(rows, key=lambda row: row["norm"])
    assert attacked["trust"] == min(row["trust"] for row in rows)


def test_a_client_without_a_number_is_refused():
    context = Context(1, 7, {"num-partitions": 4}, RecordDict(), {})
    with pytest.raises(EngineError, match="partition-id None, expected the number.*--node-config"):
        client_app._client_id(context)

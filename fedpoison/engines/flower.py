"""The `flower` engine: start, follow and stop a run in Flower's simulation runtime.

`flwr run` returns at once, and does not report how the run ends. It leaves a SuperLink running, installs the
app's dependencies again for each run, and simulates two clients by default. This engine starts a SuperLink
for the run. The run store shows the progress of the run, and whether it succeeded.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import tomli_w

from fedpoison.data.objects import Arrays
from fedpoison.engines.guard import guarded_program
from fedpoison.errors import EngineError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import to_run_config
from fedpoison.results.history import History
from fedpoison.results.provenance import COMMAND_VARIABLE, Notify, command
from fedpoison.results.provenance import environment as environment_of_run
from fedpoison.results.round import OnRound
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import StoredRun
from fedpoison.scenario.model_spec import read_model
from fedpoison.scenario.scenario import Scenario
from fedpoison.scratch import scratch_folder

START_UP = 60.0
"""Seconds in which the SuperLink has to start."""
POLL = 0.2
"""Seconds between two checks of the run store."""
SILENCE = 3.0
"""Seconds without a new round after which Flower is asked whether the run goes on."""
ENDED = ("finished", "completed", "stopped", "failed")

SERVER = """from flwr.serverapp import ServerApp

from fedpoison.engines.server_app import main

app = ServerApp()
app.main()(main)
"""
CLIENT = """from flwr.clientapp import ClientApp

from fedpoison.engines.client_app import query, train

app = ClientApp()
app.train()(train)
app.query()(query)
"""
CONFIGURATION = """[superlink]
default = "fedpoison"

[superlink.fedpoison]
address = "127.0.0.1:{port}"
insecure = true
"""
PROJECT = """[project]
name = "fedpoison-flower"
version = "0.1.0"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedpoison"
fab-include = ["fedpoison_flower/*.py"]

[tool.flwr.app.components]
serverapp = "fedpoison_flower.server_app:app"
clientapp = "fedpoison_flower.client_app:app"

[tool.flwr.app.config]
"""


def run_on_flower(
    federation: Federation,
    *,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    on_round: OnRound | None = None,
    checkpoint_every: int | None = None,
    fresh: bool = False,
    notify: Notify,
) -> History:
    """Run a federation in Flower's simulation runtime on Ray and return its history.

    Arguments as for `simulate`.

    Raises:
        ScenarioError: the model was given as an object.
        EngineError: the runtime did not start, or the run failed. The message contains the end of the log.
    """
    if read_model(federation.scenario.model).value.is_object:
        raise ScenarioError(
            f"engine flower: got the model object {federation.scenario.model}, which a run-config cannot "
            "contain; expected its code, as in my_file.py:MyNet, or the engine local or ray."
        )
    with scratch_folder("fedpoison-flower-") as home:
        store = home / "runs" if out is None else Path(out).absolute()
        folder = store / federation.scenario.run_id
        known = environment_of_run("flower", None, federation.no_effect, federation.class_names)
        writer = RunWriter.begin(folder, federation.scenario, known, fresh=fresh)
        writer.release()  # the ServerApp writes the run
        if writer.notice is not None:
            notify(writer.notice)
        app = _write_app(home / "app", federation, store, data_dir, checkpoint_every)
        environment = _environment(home)
        with _superlink(home, environment):
            run_id = _submit(app, federation, environment)
            _follow(writer, run_id, environment, on_round)
        history = StoredRun(folder).history
        return history if out is not None else replace(history, path=None)


def _write_app(
    app: Path, federation: Federation, store: Path, data_dir: str | Path | None, checkpoint_every: int | None
) -> Path:
    """Write a Flower app that imports the apps of this package, with the scenario as its run-config."""
    package = app / "fedpoison_flower"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "server_app.py").write_text(SERVER, encoding="utf-8")
    (package / "client_app.py").write_text(CLIENT, encoding="utf-8")
    data = data_dir or os.environ.get("FEDPOISON_DATA", "")
    config = to_run_config(
        _with_copied_arrays(federation, app / "arrays.pt"),
        out=str(store),
        data_dir=str(Path(data).expanduser().absolute()) if data else "",
        checkpoint_every=checkpoint_every or 0,
    )
    (app / "pyproject.toml").write_text(PROJECT + tomli_w.dumps(config), encoding="utf-8")
    return app


def _with_copied_arrays(federation: Federation, path: Path) -> Scenario:
    """Return the scenario. If its data set are arrays of this process, it names a copy of them at `path`."""
    source = federation.dataset.source
    if not isinstance(source, Arrays):
        return federation.scenario
    return federation.scenario.replace(dataset=source.save(path))


def _environment(home: Path) -> dict[str, str]:
    """Return the environment of Flower's processes: this installation, a separate home and a free port.

    Flower's configuration in that home names the address of the SuperLink. Without it, `flwr` starts another
    SuperLink if the one of the run does not answer, as after its process was killed.
    """
    here, port = str(Path(sys.executable).parent), str(_free_port())
    (home / "flwr").mkdir(exist_ok=True)
    (home / "flwr" / "config.toml").write_text(CONFIGURATION.format(port=port), encoding="utf-8")
    return {
        **os.environ,
        COMMAND_VARIABLE: json.dumps(command()),
        "PATH": here + os.pathsep + os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "FLWR_HOME": str(home / "flwr"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": port,
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_ADDRESS": "local",  # otherwise Flower joins a Ray cluster that it finds on this machine
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then listens on this machine only, on Linux as well
    }


@contextmanager
def _superlink(home: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a SuperLink while the context is open."""
    program = shutil.which("flower-superlink", path=environment["PATH"])
    if program is None:
        raise EngineError("flower-superlink: not found next to this Python; install flwr[simulation].")
    port = environment["FLWR_LOCAL_SUPERLINK_HTTP_API_PORT"]
    log = home / "superlink.log"
    command = [program, "--insecure", "--simulation", "--isolation", "subprocess"]
    command += ["--control-api-address", f"127.0.0.1:{_free_port()}", "--host", "127.0.0.1", "--port", port]
    with (
        log.open("wb") as sink,
        guarded_program(command, env=environment, stdout=sink, stderr=sink, cwd=home) as guard,
    ):
        _await_health(guard, port, log)
        yield


def _await_health(guard: subprocess.Popen[bytes], port: str, log: Path) -> None:
    deadline = time.monotonic() + START_UP
    while time.monotonic() < deadline and guard.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).is_success:
                return
        except httpx.HTTPError:
            time.sleep(POLL)
    raise EngineError(f"Flower's SuperLink did not start:\n{_tail(log.read_text(errors='replace'))}")


def _submit(app: Path, federation: Federation, environment: Mapping[str, str]) -> str:
    """Submit the app to the SuperLink, and return Flower's id of the run."""
    resources = f"num-supernodes={federation.scenario.clients} client-resources-num-cpus=1"
    clients = f"clients={federation.scenario.clients}"  # not the number that has registered so far
    answer = _flwr(
        ["run", str(app), "--federation-config", resources, "--run-config", clients, "--format", "json"],
        environment,
    )
    run_id = answer.get("run-id")
    if not run_id:
        raise EngineError(f"Flower did not accept the run: {answer}")
    return str(run_id)


def _follow(writer: RunWriter, run_id: str, environment: Mapping[str, str], on_round: OnRound | None) -> None:
    """Report each round after it is written, until the run ends.

    The run store shows the progress. Flower is asked only after a silence, because each answer takes a second
    of processor time.
    """
    shown, heard, ended = 0, time.monotonic(), False
    while True:
        # The folder of a repeated run is removed when its files have replaced the earlier ones.
        repeated = writer.folder != writer.path
        complete = not writer.folder.is_dir() if repeated else StoredRun(writer.path).complete
        run = StoredRun(writer.path if complete else writer.folder)
        failure = StoredRun(writer.path).failure
        records = run.history.records if run.rounds.is_file() else []
        for record in records[shown:]:
            heard = time.monotonic()
            if on_round is not None:
                on_round(record)
        shown = max(shown, len(records))
        if complete:
            return
        if failure is not None:
            raise EngineError(f"Flower's run ended after {max(shown - 1, 0)} rounds: {failure.reason}")
        if ended:
            log = _flwr_text(["log", run_id, "--show"], environment)
            raise EngineError(f"Flower's run ended after {max(shown - 1, 0)} rounds:\n{_tail(log)}")
        if time.monotonic() - heard > SILENCE:
            ended = _status(run_id, environment).startswith(ENDED)
            heard = time.monotonic()
        else:
            time.sleep(POLL)


def _status(run_id: str, environment: Mapping[str, str]) -> str:
    answer = _flwr(["ls", "--run-id", run_id, "--format", "json"], environment)
    runs: list[dict[str, str]] = answer.get("runs", [])
    return runs[0]["status"] if runs else "unknown"


def _flwr(arguments: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    text = _flwr_text(arguments, environment)
    try:
        answer: dict[str, Any] = json.loads(text[text.index("{") :])
    except ValueError:
        raise EngineError(f"flwr {arguments[0]} answered:\n{_tail(text)}") from None
    return answer


def _flwr_text(arguments: list[str], environment: Mapping[str, str]) -> str:
    program = shutil.which("flwr", path=environment["PATH"])
    if program is None:
        raise EngineError("flwr: not found next to this Python; install flwr[simulation].")
    done = subprocess.run(
        [program, *arguments], env=dict(environment), capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(text: str, lines: int = 25) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])

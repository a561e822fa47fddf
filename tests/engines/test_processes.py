"""A command that trains on Ray, or in Flower, heeds Ctrl-C and leaves no process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, heed_ctrl_c

from fedpoison.engines.guard import stop_processes
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

COMMAND = [
    sys.executable, "-m", "fedpoison", "run", "--dataset", "digits", "--model", "mlp",
    "--train-samples", "400", "--test-samples", "200", "--clients", "10",
]  # fmt: skip


def start(*options, engine="ray"):
    """Start the command line in a process group of its own, marked so that its children can be found."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*COMMAND, "--engine", engine, *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )


def left_by(process):
    """Return the command lines of processes that outlive the session of `process`."""
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        if session == process.pid and command:
            left.append(command)
    return left


@pytest.mark.ray
def test_the_command_line_prints_one_object_and_leaves_no_process(small, tmp_path):
    process = start("--rounds", 2, "--workers", 1, "--json", "--out", tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert out.count("\n") == 1
    assert result["rounds"] == 2
    assert [line for line in err.splitlines() if "fedavg under none" not in line and line.strip()] == []
    assert left_by(process) == []
    scenario = Scenario.load(Path(result["path"]) / "scenario.toml")
    assert result["accuracy"] == simulate(scenario).last.accuracy


def listening(processes):
    """Return the addresses on which the processes accept connections, with the names of the processes."""
    found = set()
    for process in processes:
        try:
            sockets = [each for each in process.net_connections("tcp") if each.status == "LISTEN"]
            found |= {(each.laddr.ip.removeprefix("::ffff:"), process.name()) for each in sockets}
        except psutil.NoSuchProcess:
            continue
    return found


def exposed(processes):
    """Return what of `listening` other machines can reach."""
    return {place for place in listening(processes) if place[0] not in ("127.0.0.1", "::1")}


@pytest.mark.ray
@pytest.mark.parametrize(
    ("engine", "how"),
    [
        ("ray", "SIGINT"),
        ("ray", "SIGTERM"),
        ("flower", "SIGINT"),
        ("flower", "SIGTERM"),
        ("flower", "SIGKILL"),
    ],
)
def test_a_stopped_run_ends_cleanly_and_takes_its_processes_along(tmp_path, engine, how):
    workers = ["--workers", 1] if engine == "ray" else []
    process = start("--rounds", 500, *workers, "--out", tmp_path, engine=engine)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size > 5000 for path in tmp_path.glob("*/rounds.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)  # Flower's leave the session
    while open_to_others := exposed([psutil.Process(process.pid), *started]):  # a socket may be short-lived
        assert time.monotonic() < deadline, open_to_others
        time.sleep(0.05)
    if how == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everything in the foreground gets it
    else:
        process.send_signal(signal.Signals[how])
    _, err = process.communicate(timeout=60)
    assert psutil.wait_procs(started, timeout=20)[1] == []
    assert left_by(process) == []
    if how == "SIGKILL":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, err
        assert "finished work is kept" in err
        assert "Traceback" not in err


WAIT = f"{sys.executable} -c 'import signal; signal.pause()'"


@pytest.mark.parametrize("leader", ["exit", "wait"], ids=["is dead", "is alive"])
def test_what_a_superlink_started_ends_with_it(leader):
    script = f"{WAIT} >/dev/null & echo $!; {leader}"
    process = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    with process.stdout as told:
        child = psutil.Process(int(told.readline()))
    if leader == "exit":
        process.wait()
    stop_processes(process.pid)
    process.wait()
    assert psutil.wait_procs([child], timeout=10)[1] == []
    assert process.returncode is not None

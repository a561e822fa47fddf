"""A command that trains on Ray, or in Flower, heeds Ctrl-C, leaves no process, and continues after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, heed_ctrl_c, timeless

from experiments.kills import start_command
from fedpoison.engines.guard import guarded_program
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import run_all
from fedpoison.simulation.run import simulate
from fedpoison.studies.study import Study

RUN = [
    "run", "--dataset", "digits", "--model", "mlp-small", "--train-samples", "400", "--test-samples", "200",
    "--clients", "10",
]  # fmt: skip
LASTING = [
    "--strategy", "fldetector | adam", "--attack", "mimic", "--momentum", "0.9", "--persistent-momentum",
    "--checkpoint-every", "1",
]  # fmt: skip
"""Options of a run whose rule, optimizer, attackers and clients keep a state."""


NO_CLUSTER = "127.0.0.1:1"
"""Address of a Ray cluster that a run has to ignore. Only --ray-address names one."""
START_UP = 300
"""Longest time until a run on a busy machine writes its first record, in seconds."""


@pytest.fixture
def start():
    """Return a function that starts the command line in a session of its own."""
    processes = []

    def run(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "fedpoison", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONWARNINGS": "ignore",
                "PYTHONPATH": str(ROOT),
                "RAY_ADDRESS": NO_CLUSTER,
            },
            start_new_session=True,
            preexec_fn=heed_ctrl_c,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


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
def test_the_command_line_prints_one_object_and_leaves_no_process(start, tmp_path):
    process = start(*RUN, "--engine", "ray", "--rounds", 2, "--workers", 1, "--json", "--out", tmp_path)
    out, err = process.communicate(timeout=START_UP)
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


def running(process, out, *patterns):
    """Return all processes of a command after it wrote files, when none listens beyond this machine."""
    deadline = time.monotonic() + START_UP
    command = psutil.Process(process.pid)
    while not all(any(out.glob(pattern)) for pattern in patterns):
        assert command.status() != psutil.STATUS_ZOMBIE
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started = command.children(recursive=True)  # Flower's leave the session
    open_to_others = exposed([psutil.Process(process.pid), *started])
    assert open_to_others == set()
    return started


def assert_all_ended(process, started):
    left = psutil.wait_procs(started, timeout=20)[1]
    assert [
        each for each in left if each.status() != psutil.STATUS_ZOMBIE
    ] == []  # where no init collects them
    assert left_by(process) == []


@pytest.mark.ray
@pytest.mark.parametrize(("engine", "how"), [("ray", "SIGINT"), ("flower", "SIGTERM")])
def test_a_stopped_run_ends_cleanly_and_takes_its_processes_along(start, tmp_path, engine, how):
    workers = ["--workers", 1] if engine == "ray" else []
    process = start(*RUN, "--rounds", 500, "--engine", engine, *workers, "--out", tmp_path)
    started = running(process, tmp_path, "*/rounds.jsonl")
    if how == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everything in the foreground gets it
    else:
        process.send_signal(signal.Signals[how])
    _, err = process.communicate(timeout=60)
    assert_all_ended(process, started)
    assert process.returncode == 130, err
    assert "finished work is kept" in err
    assert "Traceback" not in err


@pytest.mark.ray
@pytest.mark.parametrize(("engine", "rounds"), [("ray", 60), ("flower", 30)])
def test_a_killed_run_takes_its_processes_along_and_continues(tmp_path, engine, rounds):
    workers = ["--workers", 1] if engine == "ray" else []
    command = [*RUN, *LASTING, "--rounds", rounds, "--engine", engine, *workers, "--out", tmp_path]
    process = start_command(command, tmp_path / "log")
    started = running(process, tmp_path, "*/checkpoint.safetensors")
    process.kill()
    process.join()
    assert_all_ended(process, started)
    (folder,) = (path.parent for path in tmp_path.glob("*/scenario.toml"))
    notices = []
    scenario = Scenario.load(folder / "scenario.toml")
    history = simulate(scenario, out=tmp_path, notify=notices.append)
    whole = simulate(scenario, out=tmp_path / "whole")
    assert "the run continues after round" in notices[0]
    assert list(map(timeless, history.records)) == list(map(timeless, whole.records))
    assert StoredRun(folder).model.read_bytes() == StoredRun(whole.path).model.read_bytes()


@pytest.mark.ray
def test_a_killed_sweep_takes_its_processes_along_and_continues_inside_its_runs(
    small, tmp_path, fedpoison, shared_ray
):
    """Kill parallel runs when one is complete: it stays, and another continues in a task."""
    base = small.replace(
        model="mlp-small", strategy="fldetector | adam", attack="mimic", train_samples=100
    ).content()
    del base["rounds"]
    study = Study.parse({"name": "s", "base": base, "axes": {"rounds": [3, 60, 61]}})
    (tmp_path / "s.toml").write_text(study.to_toml())
    options = ["sweep", tmp_path / "s.toml", "--jobs", 2, "--checkpoint-every", 1]
    process = start_command([*options, "--out", tmp_path / "runs"], tmp_path / "log")
    short, long, _ = (cell.scenario.run_id for cell in study.cells())
    done = StoredRun(tmp_path / "runs" / short)
    started = running(
        process, tmp_path / "runs", f"{short}/model.safetensors", f"{long}/checkpoint.safetensors"
    )
    process.kill()
    process.join()
    assert_all_ended(process, started)
    written = done.model.stat().st_mtime_ns
    code, out, err = fedpoison(*options, "--out", tmp_path / "runs")
    assert code == 0, err
    assert "1 complete, 0 failed, 2 to run" in " ".join(out.split())
    assert "the run continues after round" in " ".join(err.split())
    assert done.model.stat().st_mtime_ns == written
    whole = run_all([cell.scenario for cell in study.cells()], out=tmp_path / "whole", jobs=1)
    for scenario, expected in whole.histories.items():
        stored = StoredRun(tmp_path / "runs" / scenario.run_id)
        assert list(map(timeless, stored.history.records)) == list(map(timeless, expected.records))
        assert stored.model.read_bytes() == StoredRun(expected.path).model.read_bytes()


PAUSE = f"{sys.executable} -c 'import os, signal; os.write(1, b\"%d\\n\" % os.getpid()); signal.pause()'"
"""Command that writes its process number, as one piece, and waits."""


@pytest.mark.parametrize("leader", ["sleep 0.1", f"exec {PAUSE}"], ids=["ends", "goes on"])
def test_what_a_guarded_program_started_ends_with_the_guard(leader):
    script = f"setsid {PAUSE} & {leader}"
    with guarded_program(["/bin/sh", "-c", script], stdout=subprocess.PIPE) as guard:
        lines = 1 if leader.startswith("sleep") else 2
        started = [psutil.Process(int(guard.stdout.readline())) for _ in range(lines)]
        if lines == 1:
            guard.wait()  # the child had left the session of its parent, which has ended
        else:
            assert guard.poll() is None
    assert psutil.wait_procs(started, timeout=5)[1] == []


def test_a_program_ends_even_if_its_user_is_gone_before_it_starts():
    with guarded_program(["/bin/sh", "-c", f"exec {PAUSE}"]) as guard:
        pass
    assert guard.returncode == 0

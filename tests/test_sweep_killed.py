"""A sweep survives the death of its driver."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from fedpoison.batch import run_all
from fedpoison.store import StoredRun
from fedpoison.study import Study

ROOT = Path(__file__).parents[1]

FLEET = """
name = "kill"
title = "A sweep whose driver is killed"

[base]
dataset = "digits"
train_samples = 300
test_samples = 200
clients = 6
rounds = 4
model = "mlp-small"
batch_size = 8

[axes]
attack = ["none", "sign-flip", "alie"]
strategy = ["fedavg", "median"]
seed = [SEEDS]
"""

SURROUNDINGS = {
    "PYTHONWARNINGS": "ignore",
    "PYTHONPATH": str(ROOT),
    "COLUMNS": "200",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "2",  # Ray's agents outlive their driver by as much; else by 60
}


def start(study, out, jobs):
    """Start a sweep from the command line, in a session of its own so that its children can be found."""
    return subprocess.Popen(
        [sys.executable, "-m", "fedpoison", "sweep", study, "--out", out, "--jobs", str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **SURROUNDINGS},
        start_new_session=True,
    )


def complete(out):
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/model.safetensors")}


def left_by(process):
    """Return the command lines of what is alive in the session of `process`."""
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, *_, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        if int(session) == process.pid and state != "Z" and command:
            left.append(command)
    return left


def outcome(folder):
    """Return what a run left, without what the clock adds."""
    lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    for line in lines:
        del line["training"]["seconds"]
    return lines, StoredRun(folder).weights()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds what is left behind in /proc")
@pytest.mark.parametrize(
    ("jobs", "seeds"),
    [(1, "0, 1, 2, 3"), pytest.param(2, "0", marks=pytest.mark.ray)],
    ids=["one", "several"],
)
def test_a_killed_driver_loses_nothing_and_repeats_nothing(tmp_path, jobs, seeds):
    """Kill -9 in the middle of 24 runs (6 in Ray); the second start makes the rest as if nothing had been."""
    study, out = tmp_path / "kill.toml", tmp_path / "runs"
    study.write_text(FLEET.replace("SEEDS", seeds))
    wanted = [cell.scenario for cell in Study.load(study).cells()]
    process = start(study, out, jobs)
    deadline = time.monotonic() + 300
    while len(complete(out)) < len(wanted) // 4:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)
        assert time.monotonic() < deadline
    process.kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    before = complete(out)
    assert 0 < len(before) < len(wanted)
    while left_by(process):
        assert time.monotonic() < deadline, left_by(process)
        time.sleep(0.05)
    process = start(study, out, jobs)
    told, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert (
        f"{len(wanted)} runs, {len(before)} complete, 0 failed, {len(wanted) - len(before)} to make" in told
    )
    after = complete(out)
    assert {run: after[run] for run in before} == before
    assert {scenario.run_id for scenario in wanted} == set(after)
    undisturbed = tmp_path / "undisturbed"
    run_all(wanted[::5], out=undisturbed, jobs=1)
    for scenario in wanted[::5]:
        lines, weights = outcome(out / scenario.run_id)
        expected, same = outcome(undisturbed / scenario.run_id)
        assert lines == expected
        assert all(torch.equal(weights[name], same[name]) for name in same)
    runs = pd.read_parquet(out / "studies" / "kill" / "runs.parquet")
    assert runs["run_id"].tolist() == [scenario.run_id for scenario in wanted]

"""Time that a command needs to end after Ctrl-C: `python -m experiments.stops` prints a table in Markdown.

Each command starts its engine, and receives SIGINT after its first rounds. The time ends when the command and
all its processes have ended.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

RUN = (
    "run --dataset digits --model mlp-small --train-samples 400 --test-samples 200 --rounds 2000 --clients 10"
)
COMMANDS: Mapping[str, str] = {
    "run": RUN,
    "run --engine ray": f"{RUN} --engine ray",
    "run --engine flower": f"{RUN} --engine flower",
    "sweep --jobs 2": "sweep STUDY --jobs 2",
}
"""Commands, by their names in the table."""
STUDY = """[base]
dataset = "digits"
model = "mlp-small"
train_samples = 400
test_samples = 200
clients = 10
rounds = 2000

[axes]
seed = [0, 1]
"""
ROUNDS = 3
"""Number of records in the store at which the signal is sent."""
START_UP = 300.0
"""Longest time until these records are written, in seconds."""


def seconds_to_stop(command: str) -> tuple[float, float]:
    """Start a command and stop it.

    Args:
        command: arguments of the command line. STUDY stands for the path of a study.

    Returns:
        The seconds until all processes that the command started have ended, and until the command has ended.

    Raises:
        TimeoutError: the command writes no record.
        RuntimeError: the command ends before the signal, or with another exit code than 130.
    """
    with tempfile.TemporaryDirectory(prefix="fedpoison-stops-") as scratch:
        study, out = Path(scratch) / "stops.toml", Path(scratch) / "runs"
        study.write_text(STUDY, encoding="utf-8")
        arguments = command.replace("STUDY", str(study)).split()
        process = subprocess.Popen(
            [sys.executable, "-m", "fedpoison", *arguments, "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a process group of its own, as in a terminal
        )
        try:
            _await_rounds(process, out)
            started = psutil.Process(process.pid).children(recursive=True)
            began = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            ended = _seconds_until_ended(process, started, began)
        finally:
            process.kill()
        if process.returncode != 128 + signal.SIGINT:
            raise RuntimeError(f"{command}: got exit code {process.returncode}, expected 130.")
        return ended


def _await_rounds(process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + START_UP
    while not any(
        path.read_text(encoding="utf-8").count("\n") >= ROUNDS for path in out.glob("*/rounds.jsonl")
    ):
        if process.poll() is not None:
            raise RuntimeError(f"the command ended with exit code {process.returncode}.")
        if time.monotonic() > deadline:
            raise TimeoutError(f"got no {ROUNDS} records after {START_UP:.0f} s.")
        time.sleep(0.01)


def _seconds_until_ended(
    process: subprocess.Popen[bytes], started: list[psutil.Process], began: float
) -> tuple[float, float]:
    """Return the seconds from `began` until the started processes, and until the command, have ended."""
    children = command = 0.0
    while not (children and command):
        if not command and process.poll() is not None:
            command = time.monotonic() - began
        if not children and not any(map(_alive, started)):
            children = time.monotonic() - began
        time.sleep(0.01)
    return children, command


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def measured(commands: Mapping[str, str], repeats: int) -> Iterator[str]:
    """Yield a line of the table per command."""
    for name, command in commands.items():
        times = [seconds_to_stop(command) for _ in range(repeats)]
        middle = [statistics.median(column) for column in zip(*times, strict=True)]
        longest = max(max(pair) for pair in times)
        yield f"| `{name}` | {middle[0]:.1f} | {middle[1]:.1f} | {longest:.1f} |"


def main() -> None:
    """Print one line per command, as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="number of times that each command is stopped")
    parser.add_argument("--only", help="name of the only command")
    options = parser.parse_args()
    chosen = {options.only: COMMANDS[options.only]} if options.only else COMMANDS
    print("| command | median until its processes end, s | median until it ends, s | longest, s |")
    print("|---|---|---|---|")
    for line in measured(chosen, options.repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""Kill runs at random moments, continue them, and compare their bits with those of undisturbed runs.

The undisturbed runs are on the engine `local`, because all engines give the same bits.
`python -m experiments.kills --kills 20` prints a table of `docs/reliability.md`, and so does `--engine ray`.

A server forks the processes. It has imported the code already, so a process starts within milliseconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import runpy
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import get_args

from fedpoison.engines.options import Engine

BASE = [
    "--dataset", "digits", "--train-samples", "400", "--test-samples", "100", "--clients", "10",
    "--model", "mlp", "--batch-size", "8", "--lr", "0.05", "--rounds", "30", "--checkpoint-every", "1",
]  # fmt: skip
MALICIOUS = ["--malicious", "0.2"]
RUNS: Mapping[str, str] = {
    "momentum of clients": "--momentum 0.9 --persistent-momentum",
    "foolsgold, mimic": "--strategy foolsgold --attack mimic",
    "fldetector, yogi": "--strategy fldetector|yogi --attack alie",
    "flanders, free-rider": "--strategy flanders --attack free-rider",
    "centered-clipping, adam": "--strategy centered-clipping|adam --attack poisoned-fl",
    "afa, adagrad": "--strategy afa|adagrad --attack adaptive-trigger",
}
"""Options of runs whose clients, attackers, rules and optimizers keep a state."""
BATCHES: Mapping[str, str] = {
    "sweep": "sweep STUDY",
    "search": "search OPTIONS MALICIOUS --strategy fldetector|adam --attacks mimic,alie --trials 3 "
    "--confirm 1",
    "breakdown": "breakdown OPTIONS --strategies fldetector|adam --attacks mimic --shares 0.1,0.3",
}
"""Commands that run several scenarios: one after the other on the engine `local`, two at once on `ray`."""
STUDY = """[base]
dataset = "digits"
train_samples = 400
test_samples = 100
clients = 10
model = "mlp"
batch_size = 8
lr = 0.05
malicious = 0.2
rounds = 30
strategy = "fldetector | adam"
attack = "mimic"

[axes]
seed = [0, 1]
"""
START_UP = 600.0
"""Longest time until a run saves its first checkpoint, in seconds."""
PRELOADED = [f"fedpoison.cli.{command}" for command in ("run", "sweep", "search", "breakdown")]
"""Modules that the server imports. They import torch, Flower and pandas, and start no threads."""


@dataclass(frozen=True)
class Kill:
    """Result of one killed run."""

    run: str
    engine: str
    moment: float
    """Seconds between the first checkpoint and the signal."""
    continued_after: int | None
    """Round after which the run continued. None: it had ended, or no run of a batch was unfinished."""
    equal: bool
    """Whether all models and records equal those of an undisturbed command, bit for bit."""


def kills(
    count: int, *, seed: int, engine: str, runs: Sequence[str], longest: float, options: Sequence[str] = ()
) -> Iterator[Kill]:
    """Yield the results of killed runs.

    Args:
        count: number of kills.
        seed: seed of the moments.
        engine: engine of the runs.
        runs: names in `RUNS` and `BATCHES`, which take turns.
        longest: longest time between the first checkpoint and the signal, in seconds.
        options: further options of the runs in `RUNS`, which replace those of `BASE`.
    """
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fedpoison-kills-") as scratch:
        whole: dict[str, Mapping[str, tuple[bytes, str]]] = {}
        for number in range(count):
            name = runs[number % len(runs)]
            if name not in whole:
                out = Path(scratch) / f"whole-{len(whole)}"
                _finish(name, "local", out, options)
                whole[name] = _content(out)
            out = Path(scratch) / f"killed-{number}"
            moment = moments.uniform(0, longest)
            _kill(name, engine, out, options, moment)
            notice = re.search(r"continues after round (\d+)", _finish(name, engine, out, options))
            after = None if notice is None else int(notice[1])
            yield Kill(name, engine, moment, after, _content(out) == whole[name])


def start_command(arguments: Sequence[object], output: Path) -> ForkServerProcess:
    """Start a command of fedpoison in a process and a session of its own.

    Args:
        arguments: arguments of the command line, such as `run`.
        output: file for the text that the command prints.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run_command, args=([*map(str, arguments)], output), daemon=True)
    process.start()
    return process


def _run_command(arguments: Sequence[str], output: Path) -> None:
    """Run the command line in this process."""
    os.setsid()
    with output.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv = ["fedpoison", *arguments]
    runpy.run_module("fedpoison", run_name="__main__", alter_sys=True)


def command_of(name: str, engine: str, out: Path, options: Sequence[str]) -> list[str]:
    """Return the arguments of the command of a run or of a batch."""
    if name in BATCHES:
        study = out.parent / "kills.toml"
        study.write_text(STUDY, encoding="utf-8")
        known = {"STUDY": [str(study)], "OPTIONS": BASE, "MALICIOUS": MALICIOUS}
        arguments = []
        for part in BATCHES[name].split():
            arguments += known.get(part, [part.replace("|", " | ")])
        arguments += ["--checkpoint-every", "1"] if name == "sweep" else []
        arguments += ["--jobs", "1" if engine == "local" else "2"]
    else:
        arguments = ["run", *BASE, *MALICIOUS, *(part.replace("|", " | ") for part in RUNS[name].split())]
        arguments += [*options, "--engine", engine, *([] if engine == "flower" else ["--workers", "2"])]
    return [*arguments, "--out", str(out)]


def _kill(name: str, engine: str, out: Path, options: Sequence[str], moment: float) -> None:
    """Start a run, and kill it some seconds after its first checkpoint."""
    process = start_command(command_of(name, engine, out, options), out.with_suffix(".log"))
    deadline = time.monotonic() + START_UP
    while not any(out.glob("*/checkpoint.safetensors")) and process.is_alive():
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(f"{name}: got no checkpoint after {START_UP:.0f} s, expected one.")
        time.sleep(0.002)
    time.sleep(moment)
    process.kill()
    process.join()


def _finish(name: str, engine: str, out: Path, options: Sequence[str]) -> str:
    """Run to the end, and return the text that the command printed."""
    log = out.with_suffix(".log")
    process = start_command(command_of(name, engine, out, options), log)
    process.join()
    text = log.read_text(encoding="utf-8")
    if process.exitcode:
        raise RuntimeError(f"{name}: exit code {process.exitcode}\n{text}")
    return " ".join(text.split())


def _content(out: Path) -> dict[str, tuple[bytes, str]]:
    """Return the model, and the records without their times, of each run in a store."""
    content = {}
    for model in out.glob("*/model.safetensors"):
        records = (model.parent / "rounds.jsonl").read_text(encoding="utf-8")
        content[model.parent.name] = model.read_bytes(), re.sub(r'"seconds": \{[^}]*\}', "", records)
    return content


def main() -> None:
    """Print one line per kill, as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--engine", default="local", choices=get_args(Engine), help="engine of the runs")
    parser.add_argument("--batches", action="store_true", help="kill sweep, search and breakdown")
    parser.add_argument("--longest", type=float, default=1.5, help="longest time, in seconds")
    options = parser.parse_args()
    print("| run | engine | seconds after the first checkpoint | continued after round | same bits |")
    print("|---|---|---|---|---|")
    runs = list(BATCHES if options.batches else RUNS)
    for kill in kills(
        options.kills, seed=options.seed, engine=options.engine, runs=runs, longest=options.longest
    ):
        after = "it had ended" if kill.continued_after is None else kill.continued_after
        same = "yes" if kill.equal else "no"
        print(f"| {kill.run} | {kill.engine} | {kill.moment:.2f} | {after} | {same} |", flush=True)


if __name__ == "__main__":
    main()

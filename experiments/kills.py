"""Kill runs at random moments, continue them, and compare their bits with those of undisturbed runs.

The undisturbed runs are on the engine `local`, because all engines give the same bits.
`python -m experiments.kills --kills 20` prints a table of `docs/reliability.md`, and so does `--engine ray`.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from fedpoison.engines.options import Engine

BASE = [
    "--dataset", "digits", "--train-samples", "400", "--test-samples", "100", "--clients", "10",
    "--model", "mlp", "--batch-size", "8", "--lr", "0.05", "--malicious", "0.2", "--rounds", "30",
    "--checkpoint-every", "1",
]  # fmt: skip
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
    "search": "search OPTIONS --strategy fldetector|adam --attacks mimic,alie --trials 3 --confirm 1",
    "breakdown": "breakdown OPTIONS --strategies fldetector|adam --attack mimic --shares 0.1,0.3",
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


def kills(count: int, *, seed: int, engine: str, runs: Sequence[str], longest: float) -> Iterator[Kill]:
    """Yield the results of killed runs.

    Args:
        count: number of kills.
        seed: seed of the moments.
        engine: engine of the runs.
        runs: names in `RUNS` and `BATCHES`, which take turns.
        longest: longest time between the first checkpoint and the signal, in seconds.
    """
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fedpoison-kills-") as scratch:
        whole: dict[str, Mapping[str, tuple[bytes, str]]] = {}
        for number in range(count):
            name = runs[number % len(runs)]
            if name not in whole:
                out = Path(scratch) / f"whole-{len(whole)}"
                _finish(name, "local", out)
                whole[name] = _content(out)
            out = Path(scratch) / f"killed-{number}"
            moment = moments.uniform(0, longest)
            _kill(name, engine, out, moment)
            notice = re.search(r"continues after round (\d+)", _finish(name, engine, out))
            after = None if notice is None else int(notice[1])
            yield Kill(name, engine, moment, after, _content(out) == whole[name])


def _command(name: str, engine: str, out: Path) -> list[str]:
    command = [sys.executable, "-m", "fedpoison"]
    if name in BATCHES:
        study = out.parent / "kills.toml"
        study.write_text(STUDY, encoding="utf-8")
        known = {"STUDY": [str(study)], "OPTIONS": BASE}
        for part in BATCHES[name].split():
            command += known.get(part, [part.replace("|", " | ")])
        command += ["--checkpoint-every", "1"] if name == "sweep" else []
        return [*command, "--jobs", "1" if engine == "local" else "2", "--out", str(out)]
    command += ["run", *BASE, *(part.replace("|", " | ") for part in RUNS[name].split()), "--engine", engine]
    return [*command, *([] if engine == "flower" else ["--workers", "2"]), "--out", str(out)]


def _kill(name: str, engine: str, out: Path, moment: float) -> None:
    """Start a run, and kill it some seconds after its first checkpoint."""
    process = subprocess.Popen(
        _command(name, engine, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + START_UP
    while not any(out.glob("*/checkpoint.safetensors")) and process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(f"{name}: got no checkpoint after {START_UP:.0f} s, expected one.")
        time.sleep(0.002)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _finish(name: str, engine: str, out: Path) -> str:
    """Run to the end, and return the text that the command printed."""
    done = subprocess.run(_command(name, engine, out), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: exit code {done.returncode}\n{done.stderr}")
    return " ".join((done.stdout + done.stderr).split())


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

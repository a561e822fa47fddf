"""Cost of a round on each engine: `python -m experiments.benchmarks.engines` prints Markdown tables.

The same work runs on fedpoison's engines and in Flower's simulation, with a tutorial client and with
a lean client. If a round is one step, it also runs in ByzFL's framework. Every contender runs in its own
process, in turn, once per repeat. A product of large float32 matrices measures the peak of the machine. The
first block of rounds is a warm-up with its own column. Evaluation does not count. Images are those of honest
clients. --profile prints the time of one worker of `local` by phase.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.benchmarks.flops import training_flops
from experiments.benchmarks.measure import CONTENDERS
from experiments.benchmarks.phases import phases
from experiments.benchmarks.process_tree import watched
from experiments.benchmarks.work import WORKS, Work
from fedpoison.models import MODELS

PEAK = "gemm"
"""Contender that measures the machine."""
REFERENCE = "local"
COLUMNS = ("contender", "s/round", f"x {REFERENCE}", "images/s", "of peak", "first round s", "peak MiB")
RUN_TIMEOUT = 1800.0
"""Time limit of a contender in seconds."""


@dataclass
class Runs:
    """Results of one contender."""

    rounds: list[float] = field(default_factory=list)
    """Seconds per round: the median of each run."""
    firsts: list[float] = field(default_factory=list)
    """Seconds from the command to the end of the first block."""
    memory: list[int] = field(default_factory=list)
    """Peak memory of the process and its descendants in bytes."""
    flops: list[float] = field(default_factory=list)
    """Operations per second, for the contender that measures the machine."""
    skipped: str | None = None
    """Reason if the contender cannot run."""

    def run_once(self, work: Work, contender: str, blocks: int) -> None:
        """Run once more in a fresh process."""
        if self.skipped is not None:
            return
        result, memory = measured(work, contender, blocks)
        self.skipped = result.get("skipped")
        if self.skipped is None and "flops" in result:
            self.flops.append(result["flops"])
        elif self.skipped is None:
            self.rounds.append(statistics.median(result["rounds"]))
            self.firsts.append(result["first"])
            self.memory.append(memory)

    def cells(self, work: Work, reference: float, peak: float) -> list[str]:
        """Return the row of a table, given the seconds of `local` and the peak of the machine."""
        if self.skipped is not None:
            return [f"skipped: {self.skipped}"]
        seconds = statistics.median(self.rounds)
        images = work.images / seconds
        flops = images * training_flops(MODELS[work.model](work.shape, 10), work.shape)
        return [
            f"{seconds:.3g}",
            f"{seconds / reference:.2f}",
            f"{images:,.0f}",
            f"{flops / peak:.0%}",
            f"{statistics.median(self.firsts):.1f}",
            f"{max(self.memory) / 2**20:,.0f}",
        ]


def measured(work: Work, contender: str, blocks: int) -> tuple[dict[str, Any], int]:
    """Return the output of `experiments.benchmarks.measure` for this contender, and its peak memory."""
    asked = {"work": work.fields(), "contender": contender, "blocks": blocks, "began": time.time()}
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.benchmarks.measure", json.dumps(asked)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
    )
    try:
        out, errors, memory = watched(process, RUN_TIMEOUT)
    except subprocess.TimeoutExpired:
        return {"skipped": f"not done within {RUN_TIMEOUT:.0f} s"}, 0
    if process.returncode or not out.strip():
        return {"skipped": f"failed: {(errors.strip() or 'without a word').splitlines()[-1]}"}, 0
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result, memory


def compare(work: Work, contenders: Sequence[str], *, blocks: int, repeats: int) -> dict[str, Runs]:
    """Run the contenders in turn, together with the measurement of the machine."""
    runs = {name: Runs() for name in dict.fromkeys([PEAK, *contenders])}
    for _ in range(repeats):
        for name, run in runs.items():
            run.run_once(work, name, blocks)
    return runs


def table(work: Work, runs: Mapping[str, Runs]) -> Iterable[str]:
    """Yield the lines of a table."""
    peak = statistics.median(runs[PEAK].flops)
    ours = runs.get(REFERENCE)
    reference = statistics.median(ours.rounds) if ours is not None and ours.rounds else float("nan")
    yield f"### {work.title}"
    yield ""
    yield f"float32 peak of this machine, measured between the runs: {peak / 1e9:,.0f} GFLOP/s"
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|" + "---|" * len(COLUMNS)
    for name, run in runs.items():
        if name != PEAK:
            yield f"| {' | '.join([name, *run.cells(work, reference, peak)])} |"
    yield ""


def main() -> None:
    """Print the tables."""
    options = _options()
    print(
        f"{os.cpu_count()} processors; medians over {options.repeats} processes a contender, "
        f"{options.rounds} blocks after one that warms up\n"
    )
    for name in options.work:
        work = WORKS[name]
        if options.profile:
            lines = phases(work, rounds=max(2, options.rounds))
        else:
            runs = compare(work, options.contenders, blocks=options.rounds + 1, repeats=options.repeats)
            lines = table(work, runs)
        for line in lines:
            print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    contenders = [name for name in CONTENDERS if name != PEAK]
    parser.add_argument("--work", default=",".join(WORKS), help=f"any of {', '.join(WORKS)}")
    parser.add_argument("--contenders", default=",".join(contenders), help=f"any of {', '.join(contenders)}")
    parser.add_argument("--rounds", type=int, default=4, help="timed blocks of rounds per process")
    parser.add_argument("--repeats", type=int, default=5, help="processes per contender")
    parser.add_argument("--profile", action="store_true", help="print the time of `local` by phase")
    options = parser.parse_args()
    for name, known in (("work", [*WORKS]), ("contenders", contenders)):
        given = getattr(options, name).split(",")
        strange = [each for each in given if each not in known]
        if strange:
            parser.error(f"--{name}: got {', '.join(strange)}, expected some of {', '.join(known)}")
        setattr(options, name, given)
    return options


if __name__ == "__main__":
    main()

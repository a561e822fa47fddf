"""Share of a run's time that its checkpoints take, with the default schedule.

`python -m experiments.benchmarks.checkpoints` prints the table of `docs/reliability.md`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpoison.federation.checkpoints import Checkpoints
from fedpoison.federation.federation import Federation
from fedpoison.results.checkpoint import Checkpoint
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import run_in_process

BASE = Scenario(dataset="digits", clients=50, batch_size=8, lr=0.05, malicious=0.2)
RUNS = {
    "fedavg": BASE,
    "fedavg, momentum of clients": BASE.replace(momentum=0.9, persistent_momentum=True),
    "fldetector, adam": BASE.replace(strategy="fldetector | adam", attack="mimic"),
    "flanders": BASE.replace(strategy="flanders", attack="alie"),
}
"""Runs whose checkpoints are small and large."""


@dataclass(frozen=True)
class Cost:
    """Cost of the checkpoints of one run."""

    run: str
    seconds: float
    """Time of the run, in seconds."""
    count: int
    """Number of checkpoints."""
    megabytes: float
    """Size of the last checkpoint."""
    spent: float
    """Time of all checkpoints, in seconds."""


def costs(runs: Sequence[str], rounds: int) -> Iterator[Cost]:
    """Run the named scenarios, and yield the cost of their checkpoints."""
    for name in runs:
        with tempfile.TemporaryDirectory(prefix="fedpoison-checkpoints-") as folder:
            yield _cost(name, rounds, Path(folder) / "checkpoint.safetensors")


def _cost(name: str, rounds: int, path: Path) -> Cost:
    sizes: list[int] = []

    def save(checkpoint: Checkpoint) -> None:
        checkpoint.write(path)
        sizes.append(checkpoint.size)

    federation = Federation.load(RUNS[name].replace(rounds=rounds))
    began = time.perf_counter()
    checkpoints = Checkpoints(save)
    run_in_process(federation, lambda _: None, checkpoints=checkpoints)
    seconds = time.perf_counter() - began
    return Cost(name, seconds, len(sizes), sizes[-1] / 1e6 if sizes else 0.0, checkpoints.spent)


def main() -> None:
    """Print one line per run, as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="number of rounds of each run")
    parser.add_argument("--runs", default=";".join(RUNS), help="names of runs, separated by semicolons")
    options = parser.parse_args()
    print("| run | rounds | seconds | checkpoints | size of the last one | share of the time |")
    print("|---|---|---|---|---|---|")
    for cost in costs(options.runs.split(";"), options.rounds):
        share = 100 * cost.spent / cost.seconds
        print(
            f"| {cost.run} | {options.rounds} | {cost.seconds:.1f} | {cost.count} | {cost.megabytes:.1f} MB "
            f"| {share:.1f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()

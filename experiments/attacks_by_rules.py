"""Every attack against six rules: `python -m experiments.attacks_by_rules` writes the tables as Markdown.

MNIST, 100 clients of 60 images, 20 % of them malicious, IID and Dirichlet(0.5), a small perceptron, 12 rounds
of one local epoch, three seeds: 1,548 runs, an hour on two cores. Runs that the store already holds are
read, not made again, so it can be stopped and started.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpoison.results.history import History
from fedpoison.results.round import Round
from fedpoison.scenario.registries import attacks, build_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchCallbacks, run_all

BASE = Scenario(
    dataset="mnist",
    train_samples=6000,
    test_samples=2000,
    clients=100,
    malicious=0.2,
    rounds=12,
    model="mlp-small",
    batch_size=10,
    lr=0.1,
)
RULES = ("fedavg", "median", "trimmed-mean", "multi-krum", "bulyan", "centered-clipping")
PARTITIONS = ("iid", "dirichlet(alpha=0.5)")
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Table:
    """Table of one measure of the last round, for some attacks."""

    title: str
    measure: Callable[[Round], float | None]
    attacks: Sequence[str]


def scenario(attack: str, rule: str, partition: str, seed: int) -> Scenario:
    """Return one run of the matrix."""
    return BASE.replace(attack=attack, strategy=rule, partition=partition, seed=seed)


def matrix(attacks: Sequence[str]) -> Iterator[Scenario]:
    """Yield every run."""
    for attack in attacks:
        for partition in PARTITIONS:
            for rule in RULES:
                yield from (scenario(attack, rule, partition, seed) for seed in SEEDS)


def markdown(table: Table, histories: dict[Scenario, History], partition: str) -> str:
    """Return a table of mean ± standard deviation over the seeds, in per cent."""
    lines = [
        f"### {table.title}, {partition}",
        "",
        f"| attack | {' | '.join(RULES)} |",
        "|---|" + "---:|" * len(RULES),
    ]
    for attack in table.attacks:
        cells = []
        for rule in RULES:
            runs = [histories.get(scenario(attack, rule, partition, seed)) for seed in SEEDS]
            values = [table.measure(run.last) for run in runs if run is not None]
            cells.append(cell([100 * value for value in values if value is not None]))
        lines.append(f"| {attack} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def cell(values: Sequence[float]) -> str:
    """Return mean ± standard deviation.

    >>> cell([1.0, 2.0]), cell([])
    ('1.5 ± 0.7', '-')
    """
    if not values:
        return "-"
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.1f} ± {spread:.1f}"


def progress(runs: int) -> BatchCallbacks:
    """Return callbacks that print the number of finished runs."""
    ended = itertools.count(1)

    def on_end(run: Scenario, _outcome: object) -> None:
        print(f"{next(ended)} of {runs}: {run.strategy} under {run.attack}, seed {run.seed}", file=sys.stderr)

    return BatchCallbacks(on_end=on_end)


def main() -> None:
    """Run the missing scenarios and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"), help="run store")
    parser.add_argument("--attacks", help="attacks, separated by commas; default: all")
    parser.add_argument("--jobs", type=int, help="number of parallel runs")
    arguments = parser.parse_args()
    names = arguments.attacks.split(",") if arguments.attacks else list(attacks.entries())
    runs = list(matrix(names))
    batch = run_all(runs, out=arguments.out, jobs=arguments.jobs, callbacks=progress(len(runs)))
    aimed = [name for name in names if build_attack(name).goal(10) is not None]
    for table in (
        Table("Accuracy, %", lambda record: record.accuracy, names),
        Table("Worst-class accuracy, %", lambda record: record.worst_class_accuracy, names),
        Table("Attack success, %", lambda record: record.success, aimed),
    ):
        for partition in PARTITIONS:
            print(markdown(table, batch.histories, partition))
    for failed, failure in batch.failures.items():
        run = f"{failed.strategy} under {failed.attack}, seed {failed.seed}"
        print(f"- {run}, could not be run: {failure.reason}")


if __name__ == "__main__":
    main()

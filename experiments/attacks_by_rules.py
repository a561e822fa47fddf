"""Every attack against six rules: `python -m experiments.attacks_by_rules` writes the tables as Markdown.

MNIST, 100 clients with 60 images each, 20 % of them malicious, IID and Dirichlet(0.5), a small perceptron, 12
rounds of one local epoch, three seeds: 1,980 runs, about an hour on two cores. The script loads runs that the
store contains, so it can be stopped and started.

`--table recent` measures the effect of the most recent rules and attacks, each in one setting, with and
without it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpoison.results.history import History
from fedpoison.results.round import Round
from fedpoison.scenario.attackers import first_goal
from fedpoison.scenario.registries import attacks, build_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import split_outside
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
CYCLIC = "label-flip(mode=cyclic)"
"""Attack with a parameter that has a row of its own."""
RECENT_RULES: Mapping[str, Sequence[str]] = {
    "alignins": ("scaled-update", "backdoor"),
    "fedseca": ("scaled-update", "gaussian-update"),
    "freqfed": ("scaled-update", "model-replacement"),
    "lfighter": ("scaled-update", "label-flip(mode=targeted)"),
    "masa(threshold=0.25)": ("scaled-update", "model-replacement", "backdoor"),
    "multi-metrics": ("scaled-update", "model-replacement"),
    "rflbat": ("scaled-update", "model-replacement"),
    "three-sigma": ("scaled-update", "gaussian-update"),
    "foundation | trimmed-mean": ("scaled-update", "fang-trimmed-mean"),
}
"""Attacks by rule. The effect of a rule is the difference from FedAvg."""
RECENT_ATTACKS: Mapping[str, str] = {
    "alie-backdoor": "krum",
    "three-d-fed(indicator=1000, threshold=0.003, noise=0.01)": "multi-krum",
    "darkfed(shadow=vignette, share=0.3, images=200, magnitude=0.1, pace=0.15)": "fedavg",
    "darkfed(shadow=vignette, share=0.3, images=200, magnitude=0.02, pace=0.05)": "multi-krum",
    "fcba+scaled-update(factor=5)": "fedavg",
    "sig(delta=0.3)": "fedavg",
    "wanet(strength=2.0)": "fedavg",
    "anti-signguard": "signguard",
    "anti-clipped-clustering": "clipped-clustering",
    "partial-drop(share=0.9)": "bulyan",
    "adaptive-mimic": "bulyan",
    "edge-case(dataset=digits)": "fedavg",
    "label-flip+claimed-examples(factor=20)": "fedavg",
    CYCLIC: "fedavg",
}
"""Rule by attack. The effect of an attack is the difference from a run without attack."""


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


def recent(partition: str) -> Iterator[Scenario]:
    """Yield the runs of `rule_effects` and `attack_effects`."""
    for rule, names in RECENT_RULES.items():
        for attack, strategy, seed in itertools.product(("none", *names), ("fedavg", rule), SEEDS):
            yield scenario(attack, strategy, partition, seed)
    for attack, rule in RECENT_ATTACKS.items():
        for seed in SEEDS:
            attacked = scenario(attack, rule, partition, seed)
            yield from (attacked, clean(attacked))


def clean(run: Scenario) -> Scenario:
    """Return the same run without attack, which measures the success of the same goal."""
    goal = first_goal([run.attack], 10)
    return run.without_attack(None if goal is None else goal[0])


def rule_effects(histories: Mapping[Scenario, History], partition: str) -> Iterator[str]:
    """Yield the lines of a table: each recent rule and FedAvg under the same attacks."""
    yield "| rule | attack | accuracy with FedAvg | with the rule | success with FedAvg | with the rule |"
    yield "|---|---|---:|---:|---:|---:|"
    for rule, names in RECENT_RULES.items():
        for attack in ("none", *names):
            pair = [[scenario(attack, each, partition, seed) for seed in SEEDS] for each in ("fedavg", rule)]
            accuracy, success = zip(*(_measured(runs, histories) for runs in pair), strict=True)
            name = rule.replace("|", r"\|")  # a bar would end the cell
            yield f"| `{name}` | `{attack}` | {' | '.join([*accuracy, *success])} |"


def attack_effects(histories: Mapping[Scenario, History], partition: str) -> Iterator[str]:
    """Yield the lines of a table: one rule under each recent attack and without attack."""
    yield "| attack | rule | accuracy without attack | with it | success without attack | with it |"
    yield "|---|---|---:|---:|---:|---:|"
    for attack, rule in RECENT_ATTACKS.items():
        runs = [scenario(attack, rule, partition, seed) for seed in SEEDS]
        pair = [clean(run) for run in runs], runs
        accuracy, success = zip(*(_measured(each, histories) for each in pair), strict=True)
        yield f"| `{attack}` | `{rule}` | {' | '.join([*accuracy, *success])} |"


def _measured(runs: Sequence[Scenario], histories: Mapping[Scenario, History]) -> tuple[str, str]:
    """Return the accuracy and the attack success of runs in per cent."""
    found = [histories[run].last for run in runs if run in histories]
    success = [100 * record.success for record in found if record.success is not None]
    return cell([100 * record.accuracy for record in found]), cell(success)


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
    parser.add_argument("--table", choices=("all", "recent"), default="all", help="tables to print")
    arguments = parser.parse_args()
    if arguments.table == "recent":
        runs = list(dict.fromkeys(recent(PARTITIONS[0])))
    else:
        on_images = [name for name, kind in attacks.entries().items() if not kind.card.on_tokens]
        names = split_outside(arguments.attacks or ",".join([*on_images, CYCLIC]), ",")
        runs = list(matrix(names))
    batch = run_all(runs, out=arguments.out, jobs=arguments.jobs, callbacks=progress(len(runs)))
    if arguments.table == "recent":
        for lines in (rule_effects, attack_effects):
            print("\n".join(lines(batch.histories, PARTITIONS[0])), end="\n\n")
    else:
        print_matrix(names, batch.histories)
    for failed, failure in batch.failures.items():
        run = f"{failed.strategy} under {failed.attack}, seed {failed.seed}"
        print(f"- {run}, could not be run: {failure.reason}")


def print_matrix(names: Sequence[str], histories: dict[Scenario, History]) -> None:
    """Print the tables of every attack against the six rules."""
    aimed = [name for name in names if build_attack(name).goal(10) is not None]
    for table in (
        Table("Accuracy, %", lambda record: record.accuracy, names),
        Table("Worst-class accuracy, %", lambda record: record.worst_class_accuracy, names),
        Table("Attack success, %", lambda record: record.success, aimed),
    ):
        for partition in PARTITIONS:
            print(markdown(table, histories, partition))


if __name__ == "__main__":
    main()

"""`fedpoison compare`: attacks against strategies."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpoison import comparison as comparisons
from fedpoison.cli.options import Data, Jobs, Out, RayAddress, with_scenario
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import matrix
from fedpoison.comparison import MEASURES, Comparison
from fedpoison.errors import ScenarioError
from fedpoison.scenario import Scenario
from fedpoison.specs import split_outside


@with_scenario(without=("attack", "groups", "strategy", "seed"))
def compare(
    *,
    scenario: Scenario,
    attacks: Annotated[
        str, typer.Option(help="Attacks, separated by commas.")
    ] = "none,label-flip,scaled-update",
    strategies: Annotated[
        str, typer.Option(help="Strategies, separated by commas.")
    ] = "fedavg,krum,trimmed-mean,median",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; every cell runs with each.")] = "0",
    out: Out = Path("runs"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Make runs anew that the store already holds.")
    ] = False,
    jobs: Jobs = None,
    ray_address: RayAddress = None,
    data_dir: Data = None,
) -> None:
    """Run every attack against every strategy on the same seeds; print tables and write figures."""
    names, rules, numbers = _list("attacks", attacks), _list("strategies", strategies), _seeds(seeds)
    with BatchProgress(len(names) * len(rules) * len(numbers), scenario.rounds) as progress:
        found = comparisons.compare(
            scenario,
            names,
            rules,
            seeds=numbers,
            out=out,
            jobs=jobs,
            ray_address=ray_address,
            fresh=fresh,
            data_dir=data_dir,
            watch=progress.watch(),
            notify=progress.warn,
        )
    _print(found)
    matrix_id = blake2b(repr((scenario.run_id, names, rules, numbers)).encode(), digest_size=4).hexdigest()
    folder = out / f"compare-{matrix_id}"
    _draw(found, folder)
    Console().print(f"figures and tables: {folder}")


def _print(found: Comparison) -> None:
    console = Console()
    several = len(found.seeds) > 1
    for name, measure in MEASURES.items():
        means = found.table(measure)
        if means.notna().any(axis=None):
            spreads = found.table(measure, spread=True) if several else None
            console.print(matrix(f"{name.capitalize()}, %", means, spreads))
    for attack in found.attacks:
        console.print(matrix(f"{attack}: accuracy by class, %", found.classes(attack), decimals=0))
    scenario = next(iter(found.histories.values())).scenario
    console.print(
        f"{scenario.dataset}, {scenario.clients} clients, {_malicious(scenario)} malicious, "
        f"after {scenario.rounds} rounds, {len(found.seeds)} seed(s)"
    )


def _malicious(scenario: Scenario) -> str:
    (group,) = scenario.attackers
    return str(group.size(scenario.clients))


def _draw(found: Comparison, folder: Path) -> None:
    from fedpoison import figures  # noqa: PLC0415  # matplotlib takes a second to import

    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "accuracy-by-round": figures.accuracy_by_round(found),
        "attack-by-strategy": figures.attack_by_strategy(found),
    }
    for attack in found.attacks:
        drawn[f"classes-{_slug(attack)}"] = figures.class_by_strategy(found, attack)
        for strategy in found.strategies:
            history = found.runs(attack, strategy)[0]
            name = f"{_slug(attack)}-{_slug(strategy)}"
            drawn[f"rounds-{name}"] = figures.class_heat_map(history)
            drawn[f"confusion-{name}"] = figures.confusion_matrix(history)
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.png")
    for name, measure in MEASURES.items():
        found.table(measure).to_csv(folder / f"{_slug(name)}.csv")
    found.per_class().to_csv(folder / "per-class.csv")


def _list(option: str, text: str) -> list[str]:
    items = split_outside(text, ",")
    if not items:
        raise ScenarioError(f"--{option}: got nothing, wanted names separated by commas.")
    return list(dict.fromkeys(items))


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ScenarioError(f"--seeds: got {text!r}, wanted whole numbers separated by commas.") from None


def _slug(name: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in name).strip("-")

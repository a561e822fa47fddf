"""`fedpoison compare`: attacks against strategies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpoison import comparison as comparisons
from fedpoison.cli.compare_sheets import as_json, remarks, sheets
from fedpoison.cli.lists import names_in, seeds_in
from fedpoison.cli.options import Data, Fresh, Jobs, Json, Out, RayAddress, with_scenario
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.sheets import Form, show
from fedpoison.comparison import At, Comparison, check_reference
from fedpoison.errors import file_errors
from fedpoison.file_names import content_name, file_name
from fedpoison.intervals import coverage_note
from fedpoison.run_frame import MEASURES
from fedpoison.scenario import Scenario


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
    reference: Annotated[
        str | None,
        typer.Option(
            help="Strategy that the others are compared with, pair by pair over the seeds; the one whose "
            "lowest accuracy is the highest if unset.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        At,
        typer.Option(help="Round that is read of each run: last, or best, which flatters every strategy."),
    ] = "last",
    form: Form = "terminal",
    as_object: Json = False,
    out: Out = Path("runs"),
    fresh: Fresh = False,
    jobs: Jobs = None,
    ray_address: RayAddress = None,
    data_dir: Data = None,
) -> None:
    """Run every attack against every strategy on the same seeds; print tables and write figures."""
    names, rules, numbers = names_in("attacks", attacks), names_in("strategies", strategies), seeds_in(seeds)
    if reference is not None:
        reference = check_reference(rules, reference)
    with BatchProgress(len(names) * len(rules) * len(numbers), scenario.rounds) as progress:
        found = comparisons.compare(
            scenario,
            names,
            rules,
            seeds=numbers,
            at=at,
            out=out,
            jobs=jobs,
            ray_address=ray_address,
            fresh=fresh,
            data_dir=data_dir,
            watch=progress.watch(),
            notify=progress.warn,
        )
    folder = out / content_name("compare", scenario.run_id, names, rules, numbers, reference, at)
    if as_object:
        typer.echo(json.dumps(as_json(found, reference, folder)))
    else:
        show(sheets(found, reference), form)
    console = Console(stderr=form != "terminal", quiet=as_object)
    for remark in remarks(found):
        console.print(f"* {remark}", markup=False, highlight=False, soft_wrap=True)
    console.print(_setting(found))
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write(found, reference, folder)
        _draw(found, folder)
    console.print(f"figures and tables: {folder}", markup=False, soft_wrap=True)


def _setting(found: Comparison) -> str:
    scenario = next(iter(found.histories.values())).scenario
    seeds = f"{len(found.seeds)} seeds, 95 % bootstrap intervals" if len(found.seeds) > 1 else "1 seed"
    few = coverage_note(len(found.seeds))
    moment = f"after {scenario.rounds} rounds" if found.at == "last" else "after the best round of each run"
    return (
        f"{scenario.dataset}, {scenario.clients} clients, {_malicious(scenario)} malicious, {moment}, {seeds}"
        + (f" ({few})" if few else "")
    )


def _malicious(scenario: Scenario) -> str:
    (group,) = scenario.attackers
    return str(group.size(scenario.clients))


def _draw(found: Comparison, folder: Path) -> None:
    from fedpoison import study_figures as figures  # noqa: PLC0415  # matplotlib takes a second to import
    from fedpoison.plotting import save  # noqa: PLC0415  # likewise

    drawn = {
        "accuracy-by-round": figures.accuracy_by_round(found),
        "attack-by-strategy": figures.attack_by_strategy(found),
    }
    for attack in found.attacks:
        drawn[file_name(f"classes-{attack}", drawn)] = figures.class_by_strategy(found, attack)
        for strategy in found.strategies:
            name = f"{attack}-{strategy}"
            for history in found.runs(attack, strategy)[:1]:
                drawn[file_name(f"rounds-{name}", drawn)] = history.plot()
                drawn[file_name(f"confusion-{name}", drawn)] = history.plot_confusion()
    for name, figure in drawn.items():
        save(figure, folder / f"{name}.png")


def _write(found: Comparison, reference: str | None, folder: Path) -> None:
    for name, measure in MEASURES.items():
        found.table(measure).to_csv(folder / f"{file_name(name)}.csv")
    found.per_class().to_csv(folder / "per-class.csv")
    found.estimates().to_csv(folder / "estimates.csv", index=False)
    found.differences(reference).to_csv(folder / "differences.csv", index=False)
    found.worst_case().to_csv(folder / "weakest.csv")
    found.stopped_runs().to_csv(folder / "stopped.csv", index=False)

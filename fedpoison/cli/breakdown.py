"""`fedpoison breakdown`: the smallest malicious share that breaks a strategy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from fedpoison import breakdown as breakdowns
from fedpoison.breakdown_result import Breakdown, criterion
from fedpoison.cli.breakdown_sheets import as_json, remarks, sheet
from fedpoison.cli.lists import names_in, seeds_in
from fedpoison.cli.options import Data, Fresh, Jobs, Json, Out, RayAddress, with_scenario
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.sheets import Form, show
from fedpoison.errors import ScenarioError, file_errors
from fedpoison.fields import About, fields_about
from fedpoison.file_names import content_name
from fedpoison.scenario import Scenario


@with_scenario(without=("attack", "strategy", "seed", *fields_about(Scenario, About.MALICIOUS)))
def breakdown(
    *,
    scenario: Scenario,
    attacks: Annotated[str, typer.Option(help="Attacks, separated by commas.")] = "scaled-update",
    strategies: Annotated[
        str, typer.Option(help="Strategies, separated by commas.")
    ] = "fedavg,krum,trimmed-mean,median",
    measure: Annotated[
        Literal["accuracy", "worst-class", "success"],
        typer.Option(help="What breaks: the accuracy, that of the worst class, or the attack's success."),
    ] = "accuracy",
    points: Annotated[
        float | None,
        typer.Option(
            help="Points of accuracy that a share must cost, against the run without attackers, to break a "
            "strategy; 10 if unset.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            help="Success in per cent that a share must reach to break a strategy; 50 if unset.",
            show_default=False,
        ),
    ] = None,
    shares: Annotated[
        str, typer.Option(help="Shares to try first, separated by commas; the largest ends the search.")
    ] = ",".join(map(str, breakdowns.SHARES)),
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; the mean over them decides.")] = "0",
    figure: Annotated[Literal["png", "svg", "pdf"], typer.Option(help="Format of the figure.")] = "png",
    form: Form = "terminal",
    as_object: Json = False,
    out: Out = Path("runs"),
    fresh: Fresh = False,
    jobs: Jobs = None,
    ray_address: RayAddress = None,
    data_dir: Data = None,
) -> None:
    """Find the smallest malicious share that breaks each strategy; print a table, write a figure and points.

    A strategy is told the true number of malicious clients, unless --tolerated or its own knob says another.
    """
    names, rules, numbers = names_in("attacks", attacks), names_in("strategies", strategies), seeds_in(seeds)
    judge, grid = criterion(measure, points=points, level=level), _shares(shares)
    with BatchProgress(0, scenario.rounds) as progress:
        found = breakdowns.breakdown(
            scenario,
            names,
            rules,
            judge=judge,
            shares=grid,
            seeds=numbers,
            out=out,
            jobs=jobs,
            ray_address=ray_address,
            fresh=fresh,
            data_dir=data_dir,
            watch=progress.watch(),
            expect=progress.expect,
            notify=progress.warn,
        )
    folder = out / content_name("breakdown", scenario.run_id, names, rules, numbers, grid, judge)
    if as_object:
        typer.echo(json.dumps(as_json(found) | {"path": str(folder)}))
    else:
        show([sheet(found)], form)
    console = Console(stderr=form != "terminal", highlight=False, quiet=as_object)
    for remark in remarks(found):
        console.print(f"* {remark}", markup=False)
    spelled = f"{len(numbers)} seeds" if len(numbers) > 1 else "1 seed"
    console.print(f"{scenario.clients} clients, after {scenario.rounds} rounds, {spelled}")
    with file_errors(folder):
        _write(found, folder, figure)
    console.print(f"figure and points: {folder}", markup=False, soft_wrap=True)


def _write(found: Breakdown, folder: Path, ending: str) -> None:
    from fedpoison import study_figures as figures  # noqa: PLC0415  # matplotlib takes a second to import
    from fedpoison.plotting import save  # noqa: PLC0415  # likewise

    folder.mkdir(parents=True, exist_ok=True)
    save(figures.breakdown_curves(found), folder / f"breakdown.{ending}")
    found.points().to_csv(folder / "points.csv", index=False)


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ScenarioError(f"--shares: got {text!r}, wanted numbers separated by commas.") from None

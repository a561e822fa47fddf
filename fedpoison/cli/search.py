"""`fedpoison search`: the strongest attack against a strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedpoison.cli.options import Data, Fresh, Jobs, Out, RayAddress, with_scenario
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import percent
from fedpoison.scenario import Scenario
from fedpoison.specs import split_outside

SHOWN = 10


@with_scenario(without=("attack", "groups", "goal"))
def search(
    *,
    scenario: Scenario,
    objective: Annotated[
        str,
        typer.Option(help="What the attacker is after: accuracy, class (the worst), class:3, or backdoor."),
    ] = "accuracy",
    attacks: Annotated[
        str, typer.Option(help="Attacks to search among, separated by commas; all that have the objective.")
    ] = "",
    trials: Annotated[int, typer.Option(min=1, help="How many attacks to try.")] = 60,
    out: Out = Path("runs"),
    fresh: Fresh = False,
    jobs: Jobs = None,
    ray_address: RayAddress = None,
    data_dir: Data = None,
) -> None:
    """Search the attack, and its knobs, that harms a strategy most; print the strongest ones."""
    from fedpoison import search as searches  # noqa: PLC0415  # Optuna takes a second to import

    aim = searches.objective(objective)
    with BatchProgress(0, scenario.rounds) as progress:
        found = searches.search(
            scenario,
            aim,
            attacks=split_outside(attacks, ","),
            trials=trials,
            out=out,
            jobs=jobs,
            ray_address=ray_address,
            fresh=fresh,
            data_dir=data_dir,
            watch=progress.watch(),
            expect=progress.expect,
            notify=progress.warn,
        )
    title = f"Strongest against {scenario.strategy}, by {objective}"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("attack", overflow="fold")
    table.add_column("success, %" if objective == "backdoor" else "missing, %", justify="right")
    for trial in found[:SHOWN]:
        table.add_row(escape(trial.attack), percent(trial.strength, 2))
    console = Console()
    console.print(table)
    console.print(f"{trials} trials of {len(found)} different attacks")
    console.print(f'strongest: --attack "{found[0].attack}"', markup=False, highlight=False, soft_wrap=True)

"""`fedpoison search`: the strongest attack against a strategy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer
from rich.console import Console

from fedpoison.cli.lists import spell_seeds
from fedpoison.cli.options import Data, Fresh, Jobs, Json, Out, RayAddress, with_scenario
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.sheets import Form, Sheet, interval, show
from fedpoison.cli.tables import percent
from fedpoison.intervals import coverage_note, estimate
from fedpoison.scenario import Scenario
from fedpoison.specs import split_outside

if TYPE_CHECKING:
    from fedpoison.search import Repeat, SearchResult, Trial

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
    confirm: Annotated[
        int, typer.Option(min=0, help="With how many further seeds the strongest attack runs again.")
    ] = 3,
    form: Form = "terminal",
    as_object: Json = False,
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
            confirm=confirm,
            out=out,
            jobs=jobs,
            ray_address=ray_address,
            fresh=fresh,
            data_dir=data_dir,
            watch=progress.watch(),
            expect=progress.expect,
            notify=progress.warn,
        )
    if as_object:
        typer.echo(json.dumps(_as_json(found, scenario, objective, trials)))
        return
    show([_sheet(found.trials[:SHOWN], scenario, objective)], form)
    console = Console(stderr=form != "terminal", highlight=False, soft_wrap=True)
    unharmed = "" if found.clean is None else f"; without any, {percent(found.clean, 2)} % are missing"
    console.print(f"{trials} trials of {len(found.trials)} different attacks{unharmed}")
    console.print(f'strongest: --attack "{found.trials[0].attack}"', markup=False)
    if found.repeats:
        console.print(_again(found.repeats), markup=False)


def _again(repeats: Sequence[Repeat]) -> str:
    seeds = [repeat.seed for repeat in repeats]
    stopped = [repeat.seed for repeat in repeats if repeat.stopped]
    failed = [repeat.seed for repeat in repeats if repeat.strength is None and not repeat.stopped]
    if stopped or failed:
        ends = [("the server had to stop", stopped), ("the run failed", failed)]
        told = "; ".join(f"{end} with {spell_seeds(some)}" for end, some in ends if some)
        return f"it again, with {spell_seeds(seeds)}: {told}"
    mean = estimate([repeat.strength or 0.0 for repeat in repeats])
    text = f"it again, with {spell_seeds(seeds)}: {interval(mean.mean, mean.low, mean.high)} %"
    pairs = [(repeat.strength, repeat.clean) for repeat in repeats]
    more = [strength - clean for strength, clean in pairs if strength is not None and clean is not None]
    if more:
        gain = estimate(more)
        text += (
            f", {interval(gain.mean, gain.low, gain.high, signed=True)} points to what is missing without it"
        )
    few = coverage_note(len(seeds))
    return f"{text} (95 % bootstrap intervals; {few})" if few else text


def _sheet(trials: Sequence[Trial], scenario: Scenario, objective: str) -> Sheet:
    heading = "success, %" if objective == "backdoor" else "missing, %"
    rows = [
        {"attack": trial.attack, heading: "stopped" if trial.stopped else percent(trial.strength, 2)}
        for trial in trials
    ]
    return Sheet(f"Strongest against {scenario.strategy}, by {objective}", pd.DataFrame(rows))


def _as_json(found: SearchResult, scenario: Scenario, objective: str, trials: int) -> dict[str, object]:
    return {
        "strategy": scenario.strategy,
        "objective": objective,
        "trials": trials,
        "clean": found.clean,
        "attacks": [asdict(trial) for trial in found.trials],
        "repeats": [asdict(repeat) for repeat in found.repeats],
    }

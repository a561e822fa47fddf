"""`fedpoison run`: one scenario."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpoison.cli.options import Data, Out, WorkerCount, with_scenario
from fedpoison.cli.progress import RoundProgress
from fedpoison.cli.tables import class_table, percent
from fedpoison.history import History
from fedpoison.scenario import Scenario
from fedpoison.simulation import Engine, simulate


@with_scenario()
def run(
    *,
    scenario: Scenario,
    out: Out = Path("runs"),
    engine: Annotated[
        Engine, typer.Option(help="Where the fleet runs: in this process, or on Flower's runtime.")
    ] = "local",
    workers: WorkerCount = None,
    cohort: Annotated[
        int | None,
        typer.Option(
            min=1, help="Nodes a worker trains in one call; changes the pace only.", show_default=False
        ),
    ] = None,
    data_dir: Data = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else.")
    ] = False,
) -> None:
    """Run one scenario: a fleet, an attack, a strategy; evaluated class by class after every round."""
    with RoundProgress(scenario.rounds, title=f"{scenario.strategy} under {scenario.attack}") as progress:
        history = simulate(
            scenario,
            out=out,
            engine=engine,
            workers=workers,
            cohort=cohort,
            data_dir=data_dir,
            on_round=progress.show,
        )
    if as_json:
        typer.echo(json.dumps(summary(history)))
    else:
        report(history)


def summary(history: History) -> dict[str, object]:
    """Return the result of a run as plain values for JSON; what is not a number is null."""
    last = history.last
    return {
        "run_id": history.scenario.run_id,
        "accuracy": last.accuracy,
        "per_class_accuracy": [None if math.isnan(value) else value for value in last.per_class_accuracy],
        "worst_class_accuracy": last.worst_class_accuracy,
        "attack_success_rate": last.attack_success_rate,
        "source_to_target_rate": last.source_to_target_rate,
        "loss": last.loss,
        "rounds": last.round,
        "seconds": round(history.seconds, 3),
        "dataset": history.scenario.dataset,
        "path": None if history.path is None else str(history.path),
    }


def report(history: History) -> None:
    """Print the result of a run for a person."""
    console = Console()
    last = history.last
    console.print(class_table({"initial": _initial(history), "final": history}))
    console.print(
        f"accuracy {percent(last.accuracy)} %, worst class {percent(last.worst_class_accuracy)} %, "
        f"loss {'not finite' if last.loss is None else format(last.loss, '.4f')}"
    )
    if last.success is not None:
        console.print(f"attack success {percent(last.success)} %")
    rates = history.rounds().iloc[-1]
    if last.training.malicious and last.training.trust is not None:
        console.print(
            f"the rule rejected {percent(rates['true_positive_rate'])} % of the malicious "
            f"and {percent(rates['false_positive_rate'])} % of the honest clients in the last round"
        )
    dropped = sum(len(record.training.dropped) for record in history.records)
    if dropped:
        console.print(f"[yellow]{dropped} replies could not be used: see dropped in rounds.jsonl[/]")
    console.print(
        f"{last.round} rounds on {history.scenario.dataset} in {history.seconds:.1f} s: {history.path}"
    )


def _initial(history: History) -> History:
    return History(history.scenario, history.records[:1])

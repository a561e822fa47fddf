"""`fedpoison baseline`: train the same model centrally."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console

from fedpoison.cli.options import Data, EvaluationThreads, Json, Out, with_scenario
from fedpoison.cli.progress import RoundProgress
from fedpoison.cli.tables import class_table
from fedpoison.results.history import History
from fedpoison.results.run_frame import percent
from fedpoison.results.strict_json import to_json
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.centralized import FEDERATION_ONLY, check_centralized, train_centralized


@with_scenario(without=FEDERATION_ONLY, rounds=5)
def baseline_command(
    *,
    scenario: Scenario,
    out: Out = Path("runs"),
    workers: EvaluationThreads = None,
    data_dir: Data = None,
    as_object: Json = False,
) -> None:
    """Train a centralized model on clean data, and with --attack another one on poisoned data.

    The table compares the two models per class. A round is one epoch. --malicious is the share of poisoned
    samples.
    """
    check_centralized(scenario)
    variants = {"clean": scenario.replace(attack="none")}
    if scenario.attack != "none":
        variants[scenario.attack] = scenario
    histories: dict[str, History] = {}
    with RoundProgress(len(variants) * scenario.rounds, title="clean", unit="epoch") as progress:
        for name, variant in variants.items():
            progress.describe(name)
            histories[name] = train_centralized(
                variant, out=out, workers=workers, data_dir=data_dir, on_round=progress.show
            )
    if as_object:
        typer.echo(to_json({name: history.summary() for name, history in histories.items()}))
        return
    console = Console(emoji=False)
    console.print(class_table(histories), crop=False)
    for name, history in histories.items():
        last = history.last
        success = "" if last.success is None else f", attack success {percent(last.success)} %"
        result = f"{name}: accuracy {percent(last.accuracy)} %{success}: {history.path}"
        for note in history.notes:
            console.print(f"warning: {name}: {note}", style="yellow", markup=False, soft_wrap=True)
        console.print(result, markup=False, soft_wrap=True)

"""`fedpoison prune`: fine-pruning of the model of a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpoison.cli.options import Data, EvaluationThreads, Json, parse_numbers
from fedpoison.cli.tables import TextTable
from fedpoison.results.run_frame import percent, to_records
from fedpoison.results.strict_json import to_json
from fedpoison.simulation.pruning import SHARES, FinePruning, fine_prune

MEASURES = {"accuracy": "accuracy", "worst_class_accuracy": "worst class", "success": "attack success"}
"""Columns with the measures on the test set, by the title in the table."""


def prune_command(
    run: Annotated[Path, typer.Argument(help="Folder of a complete run.")],
    *,
    shares: Annotated[
        str, typer.Option(help="Shares of removed neurons, separated by commas. 0 is always measured.")
    ] = ",".join(map(str, SHARES)),
    points: Annotated[
        float,
        typer.Option(help="Largest loss of accuracy on the clean samples, in percentage points."),
    ] = 4.0,
    samples: Annotated[int, typer.Option(min=1, help="Number of clean samples of the server.")] = 500,
    epochs: Annotated[int, typer.Option(min=0, help="Passes over the clean samples in the training.")] = 10,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate of the training. Default: that of the run.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="File for the chosen model, which --initial takes. Default: none.")
    ] = None,
    data_dir: Data = None,
    workers: EvaluationThreads = None,
    as_object: Json = False,
) -> None:
    """Remove the neurons of a run's model that clean data do not use, and train it on these data.

    Print the accuracy and the attack success for each share of removed neurons, before and after
    the training.
    """
    found = fine_prune(
        run,
        shares=parse_numbers("shares", shares, float),
        points=points,
        samples=samples,
        epochs=epochs,
        lr=lr,
        data_dir=data_dir,
        workers=workers,
    )
    if save is not None:
        found.save(save)
    if as_object:
        typer.echo(to_json(as_json(found)))
    else:
        _print(found)


def as_json(found: FinePruning) -> dict[str, object]:
    """Return the result as plain values, with None for missing numbers."""
    return {
        "run_id": found.history.scenario.run_id,
        "layer": found.layer,
        "neurons": found.neurons,
        "samples": found.samples,
        "points": found.points,
        "chosen": found.chosen.share,
        "models": to_records(found.to_frame().reset_index()),
    }


def _print(found: FinePruning) -> None:
    frame = found.to_frame()
    table = frame[["removed"]].astype(str)
    table["clean samples"] = frame["clean_accuracy"].map(percent)
    for column, title in MEASURES.items():
        pairs = zip(frame[column].map(percent), frame[f"tuned_{column}"].map(percent), strict=True)
        table[title] = [f"{before} -> {after}" for before, after in pairs]
    table.index = [f"{100 * model.share:g}{' *' * (model is found.chosen)}" for model in found.models]
    console = Console()
    console.print(found.headline, markup=False, highlight=False)
    console.print(
        TextTable(
            "Removed neurons and measures in %, before and after the training",
            table.rename_axis("share").reset_index(),
        ),
        crop=False,
    )
    console.print(
        f"* the last share before the accuracy on {found.samples} clean samples falls by more than "
        f"{found.points:g} points; neurons of layer {found.layer}",
        markup=False,
        highlight=False,
    )

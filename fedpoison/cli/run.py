"""`fedpoison run`: run one scenario."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpoison.cli.options import CheckpointEvery, Data, Json, Out, RayAddress, WorkerCount, with_scenario
from fedpoison.cli.progress import RoundProgress, run_title
from fedpoison.cli.tables import class_table
from fedpoison.devices import Device
from fedpoison.engines.options import Engine, EngineOptions
from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.results.defects import warning_of_unchanged
from fedpoison.results.history import History
from fedpoison.results.run_frame import percent
from fedpoison.results.strict_json import to_json
from fedpoison.results.trackers import MLflow, TensorBoard, WeightsAndBiases, with_trackers
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import run_federation, simulate_clean


@with_scenario()
def run_command(
    *,
    scenario: Scenario,
    out: Out = Path("runs"),
    engine: Annotated[
        Engine,
        typer.Option(
            help="Engine that trains the clients: this process (local), Ray actors, or Flower's runtime."
        ),
    ] = "local",
    workers: WorkerCount = None,
    clients_per_task: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of clients that a worker trains in one call. The number changes the speed only. "
            "Default: chosen by the engine.",
        ),
    ] = None,
    device: Annotated[
        Device,
        typer.Option(
            help="Device of the local engine. auto selects CUDA if it is available, otherwise the CPU."
        ),
    ] = "auto",
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="Bitwise reproducible results on CUDA. Training is slower."),
    ] = False,
    ray_address: RayAddress = None,
    ray_resources: Annotated[
        str | None,
        typer.Option(help="Resources that Ray reserves per worker, such as CPU=2,GPU=0.5. Default: CPU=1."),
    ] = None,
    data_dir: Data = None,
    clean_run: Annotated[
        bool,
        typer.Option(
            "--twin",
            help="Also run the scenario without the attack, and show the damage. A stored clean run is "
            "used again.",
        ),
    ] = False,
    keep_updates: Annotated[
        str | None,
        typer.Option(
            help="Rounds whose updates are saved for `fedpoison replay`: all, or numbers such as 3,17. "
            "Default: none."
        ),
    ] = None,
    checkpoint_every: CheckpointEvery = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Start an interrupted run again with round 1. A complete result stays until the end.",
        ),
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard event files. Default: no TensorBoard.")
    ] = None,
    wandb: Annotated[
        str | None, typer.Option(help="Weights & Biases project to report to. Needs the extra wandb.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="MLflow experiment to report to. Needs the extra mlflow.")
    ] = None,
    as_object: Json = False,
) -> None:
    """Run one scenario, and evaluate the global model per class after every round."""
    options = EngineOptions(
        engine=engine,
        workers=workers,
        clients_per_task=clients_per_task,
        device=device,
        deterministic=deterministic,
        ray_address=ray_address,
        ray_resources=None if ray_resources is None else _amounts(ray_resources),
    )
    kept = _rounds(keep_updates, scenario.rounds)
    clean = None
    with RoundProgress((1 + clean_run) * scenario.rounds, title=run_title(scenario)) as progress:
        federation = Federation.load(scenario, data_dir=data_dir)
        chosen = {TensorBoard: tensorboard, WeightsAndBiases: wandb, MLflow: mlflow}
        opening = [partial(each, federation.scenario, to) for each, to in chosen.items() if to is not None]
        with with_trackers(federation.scenario, opening, progress.show) as on_round:
            history = run_federation(
                federation,
                options,
                out=out,
                data_dir=data_dir,
                on_round=warning_of_unchanged(on_round, progress.warn),
                keep_updates=kept,
                checkpoint_every=checkpoint_every,
                fresh=fresh,
                notify=progress.warn,
            )
        if clean_run:
            progress.describe("clean run")
            clean = simulate_clean(
                history.scenario,
                options,
                out=out,
                data_dir=data_dir,
                on_round=progress.show,
                checkpoint_every=checkpoint_every,
                notify=progress.warn,
            )
            progress.set_completed(2 * scenario.rounds)
    if as_object:
        typer.echo(to_json(history.summary(clean)))
    else:
        _print(history, clean)


def _rounds(text: str | None, last: int) -> Sequence[int]:
    if text in (None, "all"):
        return [] if text is None else range(1, last + 1)
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        wanted = "all, or rounds separated by commas"
        raise ScenarioError(f"--keep-updates: got {text!r}, expected {wanted}.") from None


def _print(history: History, clean_run: History | None) -> None:
    console = Console(emoji=False)
    last = history.last
    if clean_run is None:
        initial = replace(history, records=history.records[:1])
        table = class_table({"initial": initial, "final": history})
    else:
        table = class_table({"clean run": clean_run, "attacked": history})
    console.print(table, crop=False)
    console.print(
        f"accuracy {percent(last.accuracy)} %, worst class {percent(last.worst_class_accuracy)} %, "
        f"loss {'not finite' if last.loss is None else format(last.loss, '.4f')}"
    )
    if last.success is not None:
        clean = "" if clean_run is None else f" ({percent(clean_run.last.success)} % in the clean run)"
        console.print(f"attack success {percent(last.success)} %{clean}")
    if last.validation is not None:
        reserved = last.validation
        success = "" if reserved.success is None else f", attack success {percent(reserved.success)} %"
        console.print(
            f"on {history.scenario.validation_samples} validation samples: accuracy "
            f"{percent(reserved.accuracy)} %, worst class {percent(reserved.worst_class_accuracy)} %{success}"
        )
    rates = history.to_frame().iloc[-1]
    if last.training.acting and last.training.trust is not None:
        console.print(
            f"the rule rejected {percent(rates['true_positive_rate'])} % of the malicious "
            f"and {percent(rates['false_positive_rate'])} % of the honest clients in the last round, "
            f"and gave {percent(rates['malicious_mass'])} % of its trust to the malicious clients"
        )
    elif last.training.acting:
        console.print("the strategy reports no trust, so it is unknown which clients it rejected")
    half_life = history.recovery_half_life(clean_run)
    if not math.isnan(half_life):
        console.print(
            f"the model recovered half of the lost accuracy {half_life:.0f} rounds after the attack"
        )
    for note in history.notes:
        console.print(f"warning: {note}", style="yellow", markup=False, soft_wrap=True)
    rounds = "1 round" if last.round == 1 else f"{last.round} rounds"
    console.print(
        f"{rounds} on {history.scenario.dataset_title} in {history.seconds:.1f} s: {history.path}",
        markup=False,
        soft_wrap=True,
    )


def _amounts(text: str) -> dict[str, float]:
    try:
        return {name.strip(): float(amount) for name, amount in (part.split("=") for part in text.split(","))}
    except ValueError:
        wanted = "name=amount, such as CPU=2,GPU=0.5"
        raise ScenarioError(f"--ray-resources: got {text!r}, expected {wanted}.") from None

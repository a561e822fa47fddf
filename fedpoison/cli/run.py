"""`fedpoison run`: one scenario."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpoison.cli.options import Data, Json, Out, RayAddress, WorkerCount, with_scenario
from fedpoison.cli.progress import RoundProgress, run_title
from fedpoison.cli.tables import class_table, percent
from fedpoison.devices import Device
from fedpoison.engine_options import Engine, EngineOptions
from fedpoison.errors import ScenarioError
from fedpoison.fleet import Federation
from fedpoison.history import History
from fedpoison.measures import plain
from fedpoison.scenario import Scenario
from fedpoison.simulation import launch
from fedpoison.trackers import MLflow, TensorBoard, Tracker, WeightsAndBiases, tracked
from fedpoison.twin import simulate_twin


@with_scenario()
def run(
    *,
    scenario: Scenario,
    out: Out = Path("runs"),
    engine: Annotated[
        Engine,
        typer.Option(help="Where the fleet runs: in this process, in Ray actors, or on Flower's runtime."),
    ] = "local",
    workers: WorkerCount = None,
    cohort: Annotated[
        int | None,
        typer.Option(
            min=1, help="Nodes a worker trains in one call; changes the pace only.", show_default=False
        ),
    ] = None,
    device: Annotated[
        Device,
        typer.Option(help="Where the local engine computes; auto is CUDA if there is any, else processors."),
    ] = "auto",
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="Have CUDA give the same bits every time, at a cost in time."),
    ] = False,
    ray_address: RayAddress = None,
    ray_resources: Annotated[
        str | None,
        typer.Option(
            help="What Ray reserves for each worker, as in CPU=2,GPU=0.5; one processor if unset.",
            show_default=False,
        ),
    ] = None,
    data_dir: Data = None,
    twin: Annotated[
        bool,
        typer.Option("--twin", help="Run the clean twin too, unless the store holds it; show the damage."),
    ] = False,
    keep_updates: Annotated[
        str | None,
        typer.Option(
            help="Keep the updates of these rounds, as in 17 or 3,17 or all, for `fedpoison replay`.",
            show_default=False,
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write event files for TensorBoard under this folder.")
    ] = None,
    wandb: Annotated[
        str | None, typer.Option(help="Report to this project of Weights & Biases (extra: wandb).")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Report to this experiment of MLflow (extra: mlflow).")
    ] = None,
    as_object: Json = False,
) -> None:
    """Run one scenario: a fleet, an attack, a strategy; evaluated class by class after every round."""
    options = EngineOptions(
        engine=engine,
        workers=workers,
        cohort=cohort,
        device=device,
        deterministic=deterministic,
        ray_address=ray_address,
        ray_resources=None if ray_resources is None else _amounts(ray_resources),
    )
    kept = _rounds(keep_updates, scenario.rounds)
    clean = None
    with RoundProgress((1 + twin) * scenario.rounds, title=run_title(scenario)) as progress:
        federation = Federation.load(scenario, data_dir=data_dir)
        trackers = _trackers(federation.scenario, tensorboard, wandb, mlflow)
        with tracked(federation.scenario, trackers, progress.show) as on_round:
            history = launch(
                federation,
                options,
                out=out,
                data_dir=data_dir,
                on_round=on_round,
                keep_updates=kept,
                notify=progress.warn,
            )
        if twin:
            progress.describe("clean twin")
            clean = simulate_twin(
                history.scenario,
                options,
                out=out,
                data_dir=data_dir,
                on_round=progress.show,
                notify=progress.warn,
            )
            progress.reach(2 * scenario.rounds)
    if as_object:
        typer.echo(json.dumps(summary(history, clean)))
    else:
        report(history, clean)


def _rounds(text: str | None, last: int) -> Sequence[int]:
    if text in (None, "all"):
        return [] if text is None else range(1, last + 1)
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ScenarioError(
            f"--keep-updates: got {text!r}, wanted all, or rounds separated by commas."
        ) from None


def _trackers(
    scenario: Scenario, tensorboard: Path | None, wandb: str | None, mlflow: str | None
) -> list[Callable[[], Tracker]]:
    """Return what opens each tracker that is asked for."""
    opening: list[Callable[[], Tracker]] = []
    if tensorboard is not None:
        opening.append(partial(TensorBoard, scenario, tensorboard))
    if wandb is not None:
        opening.append(partial(WeightsAndBiases, scenario, wandb))
    if mlflow is not None:
        opening.append(partial(MLflow, scenario, mlflow))
    return opening


def summary(history: History, twin: History | None = None) -> dict[str, object]:
    """Return the result of a run as plain values for JSON; what is not a number is null."""
    last = history.last
    rates = history.rounds().iloc[-1]
    clean = None if twin is None else twin.last
    return {
        "run_id": history.scenario.run_id,
        "accuracy": last.accuracy,
        "per_class_accuracy": [plain(value) for value in last.per_class_accuracy],
        "worst_class_accuracy": last.worst_class_accuracy,
        "attack_success_rate": plain(last.attack_success_rate),
        "source_to_target_rate": plain(last.source_to_target_rate),
        "loss": last.loss,
        "rounds": last.round,
        "seconds": round(history.seconds, 3),
        "dataset": history.scenario.dataset,
        "path": None if history.path is None else str(history.path),
        "threat": history.scenario.threat,
        "trust_auroc": plain(rates["trust_auroc"]),
        "malicious_mass": plain(rates["malicious_mass"]),
        "malicious_distance": plain(rates["malicious_distance"]),
        "malicious_cosine": plain(rates["malicious_cosine"]),
        "recovery_half_life": plain(history.recovery_half_life(twin)),
        "twin_run_id": None if twin is None else twin.scenario.run_id,
        "twin_accuracy": None if clean is None else clean.accuracy,
        "twin_attack_success_rate": None if clean is None else plain(clean.attack_success_rate),
        "twin_source_to_target_rate": None if clean is None else plain(clean.source_to_target_rate),
        "damage_per_class": None if twin is None else _damage(history, twin)[:-1],
    }


def report(history: History, twin: History | None = None) -> None:
    """Print the result of a run for a person."""
    console = Console()
    last = history.last
    if twin is None:
        console.print(class_table({"initial": _initial(history), "final": history}))
    else:
        console.print(class_table({"clean twin": twin, "attacked": history}))
    console.print(
        f"accuracy {percent(last.accuracy)} %, worst class {percent(last.worst_class_accuracy)} %, "
        f"loss {'not finite' if last.loss is None else format(last.loss, '.4f')}"
    )
    if last.success is not None:
        beside = "" if twin is None else f" ({percent(twin.last.success)} % on the clean twin)"
        console.print(f"attack success {percent(last.success)} %{beside}")
    rates = history.rounds().iloc[-1]
    if last.training.acting and last.training.trust is not None:
        console.print(
            f"the rule rejected {percent(rates['true_positive_rate'])} % of the malicious "
            f"and {percent(rates['false_positive_rate'])} % of the honest clients in the last round, "
            f"and gave the malicious {percent(rates['malicious_mass'])} % of its trust"
        )
    half_life = history.recovery_half_life(twin)
    if not math.isnan(half_life):
        console.print(f"half of the accuracy lost was regained {half_life:.0f} rounds after the attack")
    dropped = sum(len(record.training.dropped) for record in history.records)
    if dropped:
        console.print(f"[yellow]{dropped} replies could not be used: see dropped in rounds.jsonl[/]")
    console.print(
        f"{last.round} rounds on {history.scenario.dataset} in {history.seconds:.1f} s: {history.path}",
        markup=False,
        soft_wrap=True,
    )


def _initial(history: History) -> History:
    return History(history.scenario, history.records[:1])


def _damage(history: History, twin: History) -> list[float | None]:
    return [plain(value) for value in history.damage(twin).iloc[-1]]


def _amounts(text: str) -> dict[str, float]:
    try:
        return {name.strip(): float(amount) for name, amount in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise ScenarioError(
            f"--ray-resources: got {text!r}, wanted name=amount, as in CPU=2,GPU=0.5."
        ) from None

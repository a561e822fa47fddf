"""Run a scenario, or its clean run, on any engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from clients.training.parameters import ModelState
from fedpoison.devices import Device
from fedpoison.engines.base import EngineGrid
from fedpoison.engines.local import local_grid
from fedpoison.engines.options import DEFAULTS, ON_CPUS, Engine, EngineOptions
from fedpoison.errors import ScenarioError
from fedpoison.federation.checkpoints import Checkpoints
from fedpoison.federation.federation import Federation
from fedpoison.federation.server import run_server, suppress_flower_logs
from fedpoison.federation.workers import Workers
from fedpoison.results.defects import warning_of_unchanged
from fedpoison.results.history import History
from fedpoison.results.provenance import Notify, environment, warn_version_mismatch
from fedpoison.results.round import OnRound, Round
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.saved_updates import UpdateRecorder, check_rounds

_log = logging.getLogger(__name__)


def simulate(
    scenario: Scenario | None = None,
    *,
    out: str | Path | None = None,
    engine: Engine = "local",
    workers: int | None = None,
    clients_per_task: int | None = None,
    device: Device = "auto",
    deterministic: bool = False,
    ray_address: str | None = None,
    ray_resources: Mapping[str, float] | None = None,
    data_dir: str | Path | None = None,
    on_round: OnRound | None = None,
    keep_updates: Collection[int] = (),
    checkpoint_every: int | None = None,
    fresh: bool = False,
    notify: Notify = _log.warning,
    **fields: object,
) -> History:
    """Run a scenario and return its history.

    A run in a store can be stopped at any time. The same call continues it from its last checkpoint.

    Args:
        scenario: scenario to run. Default: `Scenario()`.
        out: run store, in which the run gets a folder with its run id as name. Default: write no files.
        engine: engine that computes the clients. All engines give the same result.
        workers: number of clients that train at the same time, as in `EngineOptions`.
        clients_per_task: number of clients that a worker trains in one call, as in `EngineOptions`.
        device: device of the engine `local`, as in `EngineOptions`.
        deterministic: whether a device repeats a run bit by bit. Default: False.
        ray_address: address of the cluster of the engine `ray`, as in `EngineOptions`.
        ray_resources: resources that Ray reserves per worker, as in `EngineOptions`.
        data_dir: folder of the data sets. Default: FEDPOISON_DATA, then the user's cache.
        on_round: function that receives the record of each round after the round.
        keep_updates: rounds whose updates are saved in the run's folder for `replay`; not on `flower`.
        checkpoint_every: number of rounds between two checkpoints, from which an interrupted run continues.
            Default: by time, at most 2 % of the time of the run.
        fresh: whether an interrupted run starts again with round 1. Default: it continues.
        notify: function that receives a warning for each attack without effect, before the first round, and
            for each sequence of rounds that do not change the model.
        fields: fields of the scenario that differ, such as `attack="alie"` or `strategy=Krum(byzantine=2)`.

    Raises:
        ScenarioError: the scenario cannot be run. Raised before any training.
        DataError: the data set is not available.
        RunError: the run stopped.
        EngineError: the engine failed.
    """
    options = EngineOptions(
        engine=engine,
        workers=workers,
        clients_per_task=clients_per_task,
        device=device,
        deterministic=deterministic,
        ray_address=ray_address,
        ray_resources=ray_resources,
    )
    return run_federation(
        Federation.load(Scenario.given(scenario, fields), data_dir=data_dir),
        options,
        out=out,
        data_dir=data_dir,
        on_round=warning_of_unchanged(on_round or _ignore, notify),
        keep_updates=keep_updates,
        checkpoint_every=checkpoint_every,
        fresh=fresh,
        notify=notify,
    )


def simulate_clean(
    scenario: Scenario | None = None,
    options: EngineOptions = DEFAULTS,
    *,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    on_round: OnRound | None = None,
    checkpoint_every: int | None = None,
    notify: Notify = _log.warning,
    **fields: object,
) -> History:
    """Return the history of a scenario's clean run: the same seed, clients, data and rounds, without attack.

    A complete clean run in the store is loaded, and `notify` receives a warning if another version wrote it.
    The clean run measures the success rate of the scenario's attack.

    Other arguments and errors as for `simulate`.
    """
    attacked = Federation.load(Scenario.given(scenario, fields), data_dir=data_dir)
    federation = Federation(attacked.scenario.without_attack(attacked.goal_attack), attacked.dataset)
    if out is not None:
        stored = StoredRun(Path(out) / federation.scenario.run_id)
        if stored.complete:
            warn_version_mismatch([stored], notify)
            return stored.history
    return run_federation(
        federation,
        options,
        out=out,
        data_dir=data_dir,
        on_round=warning_of_unchanged(on_round or _ignore, notify),
        checkpoint_every=checkpoint_every,
        notify=notify,
    )


def run_federation(
    federation: Federation,
    options: EngineOptions = ON_CPUS,
    *,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    on_round: OnRound | None = None,
    keep_updates: Collection[int] = (),
    checkpoint_every: int | None = None,
    fresh: bool = False,
    notify: Notify = _log.warning,
) -> History:
    """Run a loaded federation and return its history. Arguments and errors as for `simulate`."""
    scenario, flower = federation.scenario, options.engine == "flower"
    check_rounds(keep_updates, scenario.rounds)
    if keep_updates and (out is None or flower):
        where = "no run store" if out is None else "engine flower"
        raise ScenarioError(f"keep_updates: got {where}, expected a run store, and engine local or ray.")
    if checkpoint_every is not None and checkpoint_every < 1:
        raise ScenarioError(f"checkpoint_every: got {checkpoint_every}, expected 1 round or more.")
    for reason in federation.warnings:
        notify(reason)
    if flower:
        from fedpoison.engines.flower import run_on_flower  # noqa: PLC0415  # only this engine needs it

        return run_on_flower(
            federation,
            out=out,
            data_dir=data_dir,
            on_round=on_round,
            checkpoint_every=checkpoint_every,
            fresh=fresh,
            notify=notify,
        )
    with suppress_flower_logs(), _open_grid(federation, options) as (grid, pool):
        if out is None:
            records: list[Round] = []

            def collect(record: Round) -> None:
                records.append(record)
                (on_round or _ignore)(record)

            run_server(federation, grid, pool, collect)
            return History(scenario, records, class_names=federation.class_names)
        provenance = (
            environment(options.engine, grid.workers, federation.no_effect, federation.class_names)
            | grid.environment
        )
        writer = RunWriter.begin(
            Path(out) / scenario.run_id, scenario, provenance, fresh=fresh, keep_updates=keep_updates
        )
        if writer.notice is not None:
            notify(writer.notice)
        recorder = UpdateRecorder(writer.folder, federation, keep_updates) if keep_updates else None
        checkpoints = Checkpoints(writer.save, checkpoint_every, writer.checkpoint)

        def serve(on_record: OnRound) -> ModelState:
            return run_server(federation, grid, pool, on_record, recorder, checkpoints=checkpoints)

        return _write_run(federation, writer, serve, on_round or _ignore)


def _write_run(
    federation: Federation, writer: RunWriter, serve: Callable[[OnRound], ModelState], on_round: OnRound
) -> History:
    """Write the rounds and the final model of the function `serve` into a run store."""
    records: list[Round] = []

    def report_round(record: Round) -> None:
        records.append(record)
        on_round(record)

    def record_round(record: Round) -> None:
        writer.append(record)
        report_round(record)

    with writer.record_failure(federation.scenario):
        for record in writer.records:
            report_round(record)
        writer.finish(federation.state_dict(serve(record_round)))
    return History(federation.scenario, records, writer.path, federation.class_names)


def _ignore(_: Round) -> None:
    """Do nothing with a round, if the caller does not ask for it."""


def run_in_process(
    federation: Federation,
    on_round: OnRound,
    *,
    workers: int | None = None,
    checkpoints: Checkpoints | None = None,
) -> ModelState:
    """Run a federation on CPUs, write no files, and return the final global model."""
    options = EngineOptions(workers=workers, device="cpu")
    with suppress_flower_logs(), local_grid(federation, options) as (grid, pool):
        return run_server(federation, grid, pool, on_round, checkpoints=checkpoints)


def _open_grid(
    federation: Federation, options: EngineOptions
) -> AbstractContextManager[tuple[EngineGrid, Workers]]:
    """Open the grid of the engine, and the workers of the server."""
    if options.engine == "ray":
        from fedpoison.engines.ray import ray_grid  # noqa: PLC0415  # only this engine needs it

        return ray_grid(federation, options)
    return local_grid(federation, options)

"""One call that runs a scenario and returns its history."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from torch import Tensor

from fedpoison.devices import Device, resolve_device
from fedpoison.engines.base import EngineGrid
from fedpoison.engines.gpu import device_grid
from fedpoison.engines.local import LocalGrid
from fedpoison.engines.options import PROCESSORS, Engine, EngineOptions
from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.federation.server import run_server, suppress_flower_logs
from fedpoison.federation.workers import Workers
from fedpoison.results.history import History
from fedpoison.results.provenance import Notify, environment
from fedpoison.results.round import OnRound, Round
from fedpoison.results.store import RunWriter
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.saved_updates import UpdateRecorder, check_rounds

_log = logging.getLogger(__name__)


def simulate(
    scenario: Scenario,
    *,
    out: Path | None = None,
    engine: Engine = "local",
    workers: int | None = None,
    clients_per_task: int | None = None,
    device: Device = "auto",
    deterministic: bool = False,
    ray_address: str | None = None,
    ray_resources: Mapping[str, float] | None = None,
    data_dir: Path | None = None,
    on_round: OnRound | None = None,
    keep_updates: Collection[int] = (),
    notify: Notify = _log.warning,
) -> History:
    """Run a scenario and return its history.

    Args:
        scenario: what to run.
        out: the run store; the run gets a folder of its own in it, named by its run id. None keeps
            nothing on disk.
        engine: where clients run. Every engine gives the same result. This and the next six as in
            `EngineOptions`.
        workers: how many nodes train at once.
        clients_per_task: how many nodes a worker trains in one call.
        device: where the engine `local` computes.
        deterministic: whether a device gives the same bits again.
        ray_address: the cluster that the engine `ray` joins.
        ray_resources: what Ray reserves for each worker.
        data_dir: where the data sets lie; None looks in FEDPOISON_DATA and the user's cache.
        on_round: called with the record of each round as soon as it is there.
        keep_updates: rounds whose updates are kept in the run's folder, for `replay`; not on `flower`.
        notify: told before the first round where the settings make an attack do nothing.

    Raises:
        ScenarioError: the scenario cannot be run; found before any training.
        DataError: the data set cannot be had.
        RunError: the run had to stop.
        EngineError: the engine could not do its work.
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
        Federation.load(scenario, data_dir=data_dir),
        options,
        out=out,
        data_dir=data_dir,
        on_round=on_round,
        keep_updates=keep_updates,
        notify=notify,
    )


def run_federation(
    federation: Federation,
    options: EngineOptions,
    *,
    out: Path | None = None,
    data_dir: Path | None = None,
    on_round: OnRound | None = None,
    keep_updates: Collection[int] = (),
    notify: Notify = _log.warning,
) -> History:
    """Run a federation that is at hand on any engine, and return its history. Arguments as for `simulate`."""
    flower = options.engine == "flower"
    check_rounds(keep_updates, federation.scenario.rounds)
    if keep_updates and (out is None or flower):
        where = "no run store" if out is None else "engine flower"
        raise ScenarioError(f"keep_updates: got {where}, wanted a run store, and engine local or ray.")
    if flower:
        from fedpoison.engines.flower import run_on_flower  # noqa: PLC0415  # only this engine needs it

        warn_no_effect(federation, notify)
        return run_on_flower(federation, out=out, data_dir=data_dir, on_round=on_round)
    return run_on_grid(
        federation, options, out=out, on_round=on_round, keep_updates=keep_updates, notify=notify
    )


def warn_no_effect(federation: Federation, notify: Notify) -> None:
    """Tell why attacks of the federation do nothing, where they do not."""
    for reason in federation.no_effect:
        notify(reason)


def run_on_grid(
    federation: Federation,
    options: EngineOptions = PROCESSORS,
    *,
    out: Path | None = None,
    on_round: OnRound | None = None,
    keep_updates: Collection[int] = (),
    notify: Notify = _log.warning,
) -> History:
    """Run a loaded federation from this process and return its history.

    Arguments as for `simulate`.
    The engine is `local` or `ray`.
    """
    warn_no_effect(federation, notify)
    grid_of = _ray_grid if options.engine == "ray" else _local_grid
    folder: RunWriter | None = None
    records: list[Round] = []

    def keep(record: Round) -> None:
        records.append(record)
        if folder is not None:
            folder.append(record)
        if on_round is not None:
            on_round(record)

    with suppress_flower_logs(), grid_of(federation, options) as (grid, pool):
        if out is not None:
            provenance = environment(options.engine, grid.workers, federation.no_effect) | grid.facts
            folder = RunWriter.begin(out / federation.scenario.run_id, federation.scenario, provenance)
        recorder = UpdateRecorder(folder.path, federation, keep_updates) if folder and keep_updates else None
        with folder.record_failure(federation.scenario) if folder else nullcontext():
            weights = run_server(federation, grid, pool, keep, recorder)
    if folder is not None:
        folder.finish(weights, federation.layout)
    return History(federation.scenario, records, folder.path if folder else None)


def run_in_process(
    federation: Federation,
    on_round: OnRound,
    *,
    workers: int | None = None,
    clients_per_task: int | None = None,
) -> Tensor:
    """Run a federation in this process, keep nothing, and return the final global weights (d,)."""
    options = EngineOptions(workers=workers, clients_per_task=clients_per_task, device="cpu")
    with suppress_flower_logs(), _local_grid(federation, options) as (grid, pool):
        return run_server(federation, grid, pool, on_round)


@contextmanager
def _local_grid(federation: Federation, options: EngineOptions) -> Iterator[tuple[EngineGrid, Workers]]:
    """Have a grid in this process, on the processors or on a device, and workers for what the server does."""
    device = resolve_device(options.device)
    if device.type != "cpu":
        with device_grid(
            federation,
            device,
            workers=options.workers,
            clients_per_task=options.clients_per_task,
            deterministic=options.deterministic,
        ) as on_device:
            yield on_device
        return
    with Workers(federation.model, federation.scenario.training, options.workers) as pool:
        yield LocalGrid(federation, pool, clients_per_task=options.clients_per_task), pool


@contextmanager
def _ray_grid(federation: Federation, options: EngineOptions) -> Iterator[tuple[EngineGrid, Workers]]:
    """Have a grid on Ray, and workers of this process for what the server does."""
    from fedpoison.engines.ray import ray_grid  # noqa: PLC0415  # only this engine needs it

    here = os.cpu_count() or 1
    with (
        ray_grid(
            federation,
            address=options.ray_address,
            workers=options.workers,
            clients_per_task=options.clients_per_task,
            resources=options.ray_resources,
        ) as grid,
        Workers(federation.model, federation.scenario.training, min(options.workers or here, here)) as pool,
    ):
        yield grid, pool

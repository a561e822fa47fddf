"""The ServerApp for `flwr run`."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedpoison.errors import FedPoisonError
from fedpoison.federation.checkpoints import Checkpoints
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import count_nodes
from fedpoison.federation.messages import CHECKPOINT_EVERY, CLIENTS, FRESH, read_context
from fedpoison.federation.plain_arrays import PlainArraysGrid
from fedpoison.federation.server import run_server
from fedpoison.federation.workers import Workers
from fedpoison.results.provenance import environment
from fedpoison.results.run_writer import RunWriter
from fedpoison.scenario.scenario import Scenario

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the scenario of the run-config on the clients of `grid`, and write it into the run store."""
    try:
        _run(PlainArraysGrid(grid), context)
    except FedPoisonError as error:
        print(f"fedpoison: error: {error}")  # noqa: T201  # Flower prints a traceback after it
        raise


def _run(grid: Grid, context: Context) -> None:
    scenario, out, data_dir = read_context(context)
    if CLIENTS not in grid.run.override_config:
        scenario = _with_all_nodes(scenario, grid)
    federation = Federation.load(scenario, data_dir=data_dir)
    path = (out or Path("runs").absolute()) / federation.scenario.run_id
    known = environment("flower", None, federation.no_effect, federation.class_names)
    fresh = bool(context.run_config.get(FRESH, False))
    folder = RunWriter.begin(path, federation.scenario, known, fresh=fresh)
    print(f"fedpoison: the run is written into {folder.folder}")  # noqa: T201  # for `flwr run --stream`
    if folder.notice is not None:
        print(f"fedpoison: {folder.notice}")  # noqa: T201
    for reason in federation.warnings:
        print(f"fedpoison: warning: {reason}")  # noqa: T201
    with (
        Workers(federation.model, federation.scenario.training) as workers,
        folder.record_failure(federation.scenario),
    ):
        every = int(str(context.run_config.get(CHECKPOINT_EVERY, 0))) or None
        checkpoints = Checkpoints(folder.save, every, folder.checkpoint)
        model = run_server(federation, grid, workers, folder.append, checkpoints=checkpoints)
    folder.finish(federation.state_dict(model))


def _with_all_nodes(scenario: Scenario, grid: Grid) -> Scenario:
    """Return the scenario with one client per SuperNode."""
    nodes = count_nodes(grid, None)
    if nodes == scenario.clients:
        return scenario
    print(  # noqa: T201
        f"fedpoison: the run has {nodes} clients, one per SuperNode. For another number, set "
        "clients in --run-config and num-supernodes in --federation-config."
    )
    return scenario.replace(clients=nodes)

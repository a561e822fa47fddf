"""The ServerApp of `flwr run`."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedpoison.environment import environment
from fedpoison.fleet import Fleet
from fedpoison.run_config import scenario_of
from fedpoison.server import serve
from fedpoison.store import RunFolder
from fedpoison.workers import Workers

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the scenario in the run-config on the nodes of `grid`, and keep it in the run store."""
    scenario, out, data_dir = scenario_of(context)
    fleet = Fleet.load(scenario, data_dir=data_dir)
    path = (out or Path("runs").absolute()) / fleet.scenario.run_id
    folder = RunFolder.begin(path, fleet.scenario, environment("flower", None, fleet.idle))
    print(f"fedpoison: the run is kept in {path}")  # noqa: T201  # what `flwr run --stream` shows
    for reason in fleet.idle:
        print(f"fedpoison: warning: {reason}")  # noqa: T201
    with Workers(fleet.model, fleet.scenario.training) as workers, folder.noting(fleet.scenario):
        weights = serve(fleet, grid, workers, folder.append)
    folder.finish(weights, fleet.layout)

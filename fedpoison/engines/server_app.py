"""The ServerApp for `flwr run`."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import read_context
from fedpoison.federation.server import run_server
from fedpoison.federation.workers import Workers
from fedpoison.results.provenance import environment
from fedpoison.results.store import RunWriter

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the scenario of the run-config on the clients of `grid`, and write it into the run store."""
    scenario, out, data_dir = read_context(context)
    federation = Federation.load(scenario, data_dir=data_dir)
    path = (out or Path("runs").absolute()) / federation.scenario.run_id
    folder = RunWriter.begin(path, federation.scenario, environment("flower", None, federation.no_effect))
    print(f"fedpoison: the run is written into {path}")  # noqa: T201  # for `flwr run --stream`
    for reason in federation.warnings:
        print(f"fedpoison: warning: {reason}")  # noqa: T201
    with (
        Workers(federation.model, federation.scenario.training) as workers,
        folder.record_failure(federation.scenario),
    ):
        weights = run_server(federation, grid, workers, folder.append)
    folder.finish(weights, federation.layout)

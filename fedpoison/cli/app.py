"""The commands of `fedpoison`."""

from __future__ import annotations

import typer

from fedpoison.cli import (
    baseline,
    breakdown,
    compare,
    doctor,
    listing,
    replay,
    report,
    reproduce,
    run,
    search,
    sweep,
)

app = typer.Typer(
    name="fedpoison",
    help="Poison the models of a federated fleet, defend them, and see the damage class by class.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("compare")(compare.compare)
app.command("breakdown")(breakdown.breakdown)
app.command("sweep")(sweep.sweep)
app.command("baseline")(baseline.baseline)
app.command("search")(search.search)
app.command("report")(report.report)
app.command("reproduce")(reproduce.reproduce)
app.command("replay")(replay.replay)
app.command("list")(listing.listing)
app.command("doctor")(doctor.doctor)

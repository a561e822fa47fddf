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
    help="Simulate model poisoning in federated learning, defend against it, and see the damage per class.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run_command)
app.command("compare")(compare.compare_command)
app.command("breakdown")(breakdown.breakdown_command)
app.command("sweep")(sweep.sweep_command)
app.command("baseline")(baseline.baseline_command)
app.command("search")(search.search_command)
app.command("report")(report.report_command)
app.command("reproduce")(reproduce.reproduce_command)
app.command("replay")(replay.replay_command)
app.command("list")(listing.list_command)
app.command("doctor")(doctor.doctor_command)

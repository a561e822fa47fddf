"""`fedpoison sweep`: a study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from fedpoison import sweep as sweeps
from fedpoison.axes import Level
from fedpoison.cli.options import Data, Fresh, Jobs, Json, Out, RayAddress
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.sheets import Form, Format, show
from fedpoison.cli.sweep_sheets import as_json, remarks, sheet, spell
from fedpoison.errors import ScenarioError, file_errors, unknown
from fedpoison.scenario import Scenario
from fedpoison.shipped import find_study
from fedpoison.specs import scalar, split_outside
from fedpoison.study import can_be_unset
from fedpoison.study_results import Results
from fedpoison.sweep import SweepPlan

FAILED = 1
"""The exit code where runs failed; the others are there all the same."""
_LISTS = [name for name, field in Scenario.model_fields.items() if isinstance(field.default, tuple)]
"""Fields of which a single value has commas in it."""


def sweep(
    *,
    study: Annotated[str, typer.Argument(help="A study in TOML, or the name of a shipped one.")],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set a field for all runs, or its axis to steps separated by commas; give it several times.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and make no run.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make the runs again that failed before.")
    ] = False,
    form: Form = "terminal",
    as_object: Json = False,
    out: Out = Path("runs"),
    fresh: Fresh = False,
    jobs: Jobs = None,
    ray_address: RayAddress = None,
    data_dir: Data = None,
) -> None:
    """Make the runs of a study that the store does not hold; print a table, write frames and the figure.

    Runs that failed are listed, make the exit code 1, and are not made again without --retry-failed.
    """
    found = find_study(study)
    chosen = found.but(**_changes(changes or [], found.levels()))
    planned = sweeps.plan(chosen, out=out, retry_failed=retry_failed, fresh=fresh, data_dir=data_dir)
    if dry_run and as_object:
        typer.echo(json.dumps(_planned(planned)))
    else:
        _show(planned, Console(stderr=as_object or form != "terminal", highlight=False))
    if dry_run:
        return
    longest = max((scenario.rounds for scenario in planned.missing), default=0)
    with BatchProgress(len(planned.missing), longest) as progress:
        results = sweeps.sweep(
            planned,
            jobs=jobs,
            ray_address=ray_address,
            data_dir=data_dir,
            watch=progress.watch(),
            notify=progress.warn,
        )
    folder = out / "studies" / chosen.name
    if as_object:
        typer.echo(json.dumps(as_json(results, folder)))
    else:
        _print(results, folder, form)
    results.write(folder)
    _draw(results, folder)
    if results.failures:
        raise typer.Exit(FAILED)


def _planned(planned: SweepPlan) -> dict[str, object]:
    return {
        "study": planned.study.name,
        "title": planned.study.title,
        "runs": len(planned.cells),
        "complete": len(planned.held),
        "failed": len(planned.failures),
        "missing": len(planned.missing),
    }


def _show(planned: SweepPlan, console: Console) -> None:
    console.print(f"[bold]{planned.study.name}[/]: {escape(planned.study.title)}")
    if planned.study.description:
        console.print(Padding(escape(" ".join(planned.study.description.split())), (0, 2)))
    console.print(
        f"plan: {len(planned.cells)} runs, {len(planned.held)} complete, {len(planned.failures)} failed, "
        f"{len(planned.missing)} to make"
    )


def _print(results: Results, folder: Path, form: Format) -> None:
    if results.histories:
        show([sheet(results)], form)
    console = Console(stderr=form != "terminal", highlight=False, soft_wrap=True)
    for remark in remarks(results):
        console.print(f"* {remark}", markup=False)
    for cell, failure in results.failures.items():
        told = f"{'stopped' if failure.aggregation_failed else 'failed'}[/] {escape(spell(cell.place))}"
        console.print(f"[red]{told}: {escape(failure.reason)}")
    if results.failures:
        console.print(f"{len(results.failures)} of {len(results.histories) + len(results.failures)} failed")
    console.print(f"results: {folder}", markup=False)


def _draw(results: Results, folder: Path) -> None:
    figure = results.study.figure
    if figure is None or not results.histories:
        return
    from fedpoison.study_figures import write_figure  # noqa: PLC0415  # matplotlib takes a second to import

    with file_errors(folder):
        write_figure(results.study, results.runs if "seed" in figure.axes else results.averaged, folder)


def _changes(given: Sequence[str], axes: Mapping[str, Sequence[Level]]) -> dict[str, object]:
    """Return by field, or axis of bundles, what it is set to: a list of several steps where it is an axis."""
    changes: dict[str, object] = {}
    for item in given:
        field, equals, value = item.partition("=")
        if not equals:
            raise ScenarioError(f"--set: got {item!r}, wanted FIELD=VALUE, as in rounds=2.")
        if field not in axes and field not in Scenario.model_fields:
            raise unknown("field or axis", field, {*axes, *Scenario.model_fields})
        if field in changes:
            raise ScenarioError(f"--set {field}: got it twice, wanted one value.")
        whole = field not in axes or field in _LISTS or value in [level.label for level in axes[field]]
        steps = [value] if whole else split_outside(value, ",")
        changes[field] = [_value(field, step) for step in steps] if len(steps) > 1 else _value(field, value)
    return changes


def _value(field: str, text: str) -> object:
    """Return what a text sets a field to: `none` unsets a field that can be unset; elsewhere it is a name."""
    if field in _LISTS or field not in Scenario.model_fields:
        return text
    value = scalar(text)
    return text if value is None and not can_be_unset(field) else value

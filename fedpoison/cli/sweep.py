"""`fedpoison sweep`: run a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from fedpoison.cli.options import BatchSettings, with_batch_settings
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import TextTable, print_tables
from fedpoison.errors import ScenarioError, file_errors, unknown
from fedpoison.results.defects import Defects
from fedpoison.results.run_frame import format_spread, to_records
from fedpoison.results.strict_json import to_json
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import parse_scalar, split_outside
from fedpoison.studies.axes import AxisValue
from fedpoison.studies.study import can_be_unset, find_study
from fedpoison.studies.study_result import StudyResults, format_place
from fedpoison.studies.study_runner import SweepPlan, plan, sweep

FAILED = 1
"""Exit code if runs failed."""
HEADINGS = {"worst_class_accuracy": "worst class", "success": "attack success"}
"""Short names of measures in tables."""
_LISTS = [name for name, field in Scenario.model_fields.items() if isinstance(field.default, tuple)]
"""Fields whose single value contains commas."""


@with_batch_settings
def sweep_command(
    *,
    study: Annotated[str, typer.Argument(help="Study: a TOML file, or the name of a built-in study.")],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Value of a field for all runs, or values of an axis separated by commas. Repeatable.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan without running it.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Repeat the runs that failed before.")
    ] = False,
    settings: BatchSettings,
) -> None:
    """Run the missing scenarios of a study, print a table, and save the results and a figure.

    If a run fails, the command lists the run, and the exit code is 1. --retry-failed repeats failed runs.
    """
    found = find_study(study)
    chosen = found.replace(**_changes(changes or [], found.axis_values()))
    planned = plan(
        chosen,
        out=settings.out,
        retry_failed=retry_failed,
        fresh=settings.fresh,
        data_dir=settings.data_dir,
    )
    if dry_run and settings.as_object:
        counts = {"runs": len(planned.cells), "complete": len(planned.stored)}
        counts |= {"failed": len(planned.failures), "missing": len(planned.missing)}
        typer.echo(to_json({"study": planned.study.name, "title": planned.study.title, **counts}))
    else:
        stderr = settings.as_object or settings.form != "terminal"
        _show(planned, Console(emoji=False, stderr=stderr, highlight=False))
    if dry_run:
        return
    longest = max((scenario.rounds for scenario in planned.missing), default=0)
    with BatchProgress(len(planned.missing), longest) as progress:
        results = sweep(
            planned,
            jobs=settings.jobs,
            ray_address=settings.ray_address,
            checkpoint_every=settings.checkpoint_every,
            data_dir=settings.data_dir,
            callbacks=progress.callbacks(),
            notify=progress.warn,
        )
    folder = settings.out / "studies" / chosen.name
    if settings.as_object:
        typer.echo(to_json(as_json(results, folder)))
    elif results.histories:
        print_tables([table(results)], settings.form)
    settings.print_notes(notes(results))
    _print_failures(results, settings.notes)
    results.write(folder)
    _draw(results, folder)
    settings.notes.print(f"results and figure: {folder}", markup=False)
    if results.failures:
        raise typer.Exit(FAILED)


def table(results: StudyResults) -> TextTable:
    """Return the table of a study, with one row per combination of the axes that has a complete run.

    The seeds of a combination share a row.
    """
    means, deviations = results.summary(), results.summary("std")
    known: Mapping[tuple[object, ...], Defects] = results.defects
    defects = [known.get(_key(label), Defects()) for label in means.index]
    cells = means.index.to_frame(index=False).map(str).rename(columns=str)
    for name in means.columns:
        texts = [
            found.marked(format_spread(mean, deviation))
            for mean, deviation, found in zip(means[name], deviations[name], defects, strict=True)
        ]
        cells.insert(cells.shape[1], HEADINGS.get(str(name), str(name)), texts, allow_duplicates=True)
    return TextTable(f"{results.study.title}, %", cells, labels=means.index.nlevels)


def notes(results: StudyResults) -> Iterator[str]:
    """Yield the combinations that have runs but no mean, and the defects of the others."""
    counts = results.seeds
    for row in to_records(counts[(counts["ended"] > 0) & (counts["ended"] < counts["asked"])]):
        asked, ended = row.pop("asked"), row.pop("ended")
        yield f"{format_place(row)}: only {ended} of {asked} seeds completed, so there is no mean"
    yield from results.remarks


def as_json(results: StudyResults, folder: Path) -> dict[str, object]:
    """Return the results as plain values, with None for missing numbers."""
    means, deviations = _measured(results, "mean"), _measured(results, "std")
    cell_defects: Mapping[tuple[object, ...], Defects] = results.defects
    combinations = []
    for row in to_records(results.seeds):
        asked, ended = row.pop("asked"), row.pop("ended")
        key = tuple(row.values())
        found: dict[str, object] = {"means": means.get(key, {}), "deviations": deviations.get(key, {})}
        found |= cell_defects.get(key, Defects()).as_json()
        combinations.append({"place": row, "asked": asked, "ended": ended, **found})
    return {
        "study": results.study.name,
        "title": results.study.title,
        "combinations": combinations,
        "failures": to_records(results.failed),
        "path": str(folder),
    }


def _key(label: object) -> tuple[object, ...]:
    """Return a label of a frame's index as a tuple, also if the index has a single level."""
    return label if isinstance(label, tuple) else (label,)


def _measured(
    results: StudyResults, reduce: Literal["mean", "std"]
) -> dict[tuple[object, ...], dict[str, object]]:
    """Return the measures of each combination, by its labels."""
    if not results.histories:
        return {}
    frame = results.summary(reduce)
    return dict(zip(map(_key, frame.index), to_records(frame), strict=True))


def _show(planned: SweepPlan, console: Console) -> None:
    console.print(f"[bold]{planned.study.name}[/]: {escape(planned.study.title)}")
    if planned.study.description:
        console.print(Padding(escape(" ".join(planned.study.description.split())), (0, 2)))
    console.print(
        f"plan: {len(planned.cells)} runs, {len(planned.stored)} complete, {len(planned.failures)} failed, "
        f"{len(planned.missing)} to run"
    )


def _print_failures(results: StudyResults, console: Console) -> None:
    for cell, failure in results.failures.items():
        end = "stopped" if failure.aggregation_failed else "failed"
        console.print(
            f"[red]{end}[/] {escape(format_place(cell.axis_labels))}[red]: {escape(failure.reason)}"
        )
    if results.failures:
        console.print(f"{len(results.failures)} of {len(results.histories) + len(results.failures)} failed")


def _draw(results: StudyResults, folder: Path) -> None:
    figure = results.study.figure
    if figure is None or not results.histories:
        return
    from fedpoison.studies.study_figure import write_figure  # noqa: PLC0415  # matplotlib takes a second to import

    with file_errors(folder):
        write_figure(results.study, results.runs if "seed" in figure.axes else results.complete_runs, folder)


def _changes(given: Sequence[str], axes: Mapping[str, Sequence[AxisValue]]) -> dict[str, object]:
    """Return the new value of each field or axis, or a list with the new values of an axis."""
    changes: dict[str, object] = {}
    for item in given:
        field, equals, value = item.partition("=")
        if not equals:
            raise ScenarioError(f"--set: got {item!r}, expected FIELD=VALUE, such as rounds=2.")
        if field not in axes and field not in Scenario.model_fields:
            raise unknown("field or axis", field, {*axes, *Scenario.model_fields})
        if field in changes:
            raise ScenarioError(f"--set {field}: given twice, expected one value.")
        whole = field not in axes or field in _LISTS or value in [level.label for level in axes[field]]
        steps = [value] if whole else split_outside(value, ",")
        changes[field] = [_value(field, step) for step in steps] if len(steps) > 1 else _value(field, value)
    return changes


def _value(field: str, text: str) -> object:
    """Parse a value of a field. `none` unsets an optional field, and is a name for other fields."""
    if field in _LISTS or field not in Scenario.model_fields:
        return text
    value = parse_scalar(text)
    return text if value is None and not can_be_unset(field) else value

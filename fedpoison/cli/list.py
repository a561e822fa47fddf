"""`fedpoison list`: the available choices, with their cards, docstrings and parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fedpoison.cli.catalogue import (
    KINDS,
    STUDIES,
    CatalogueEntry,
    Study,
    broken_entry_points,
    load_kind,
    load_studies,
)
from fedpoison.errors import unknown
from fedpoison.registry import misnamed_groups
from fedpoison.results.strict_json import to_json


def list_command(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="Kind of entries: one of attacks, strategies, preaggregators, optimizers, schedules, "
            "datasets, models, partitions, studies. Default: list these kinds.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(help="Entry to show in full, with its parameters. Default: list all entries."),
    ] = None,
    *,
    as_object: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """List available attacks, strategies, data sets, models, partitions or built-in studies."""
    if kind is None:
        typer.echo(to_json(KINDS) if as_object else f"fedpoison list {'|'.join(KINDS)} [NAME]")
        return
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    for warning in [*misnamed_groups(), *broken_entry_points(kind)]:
        Console(emoji=False, stderr=True, soft_wrap=True, highlight=False).print(
            f"[yellow]warning[/]: {escape(warning)}"
        )
    if kind == STUDIES:
        _print_studies(name, as_object=as_object)
    else:
        _print_kind(kind, name, as_object=as_object)


def _print_kind(kind: str, name: str | None, *, as_object: bool) -> None:
    found = load_kind(kind)
    if name is None:
        _print(found.table, lambda: [_table(kind, found.table)], as_object=as_object)
        return
    if name not in found.table:
        raise unknown(kind, name, found.table)
    entry = next(entry for entry in found.entries if entry.name == name)
    _print(dataclasses.asdict(entry), lambda: _entry_parts(entry), as_object=as_object)


def _print_studies(name: str | None, *, as_object: bool) -> None:
    studies = load_studies()
    if name is None:
        rows = _study_rows(studies)
        _print(rows, lambda: [_table(STUDIES, rows)], as_object=as_object)
        return
    if name not in studies:
        raise unknown(STUDIES, name, studies)
    study = studies[name]
    _print(study.content, lambda: _study_parts(name, study), as_object=as_object)


def _print(content: object, parts: Callable[[], Iterable[RenderableType]], *, as_object: bool) -> None:
    if as_object:
        typer.echo(to_json(content))
    else:
        Console(emoji=False, highlight=False).print(*parts(), sep="\n")


def _study_rows(studies: Mapping[str, Study]) -> dict[str, dict[str, str]]:
    return {
        name: {"what it shows": study.title, "axes": ", ".join(study.axes), "runs": str(study.runs)}
        for name, study in studies.items()
    }


def _table(title: str, rows: Mapping[str, Mapping[str, str]]) -> Table:
    """Return one row per name. The facts are below the first line, because columns would not fit."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, row in rows.items():
        (_, first), *facts = row.items()
        text = "; ".join(f"{fact}: {value}" for fact, value in facts if value)
        table.add_row(name, Text.assemble(first, (f"\n{text}" if text else "", "dim")))
    return table


def _entry_parts(entry: CatalogueEntry) -> Iterator[RenderableType]:
    """Yield everything about one entry, as in the documentation."""
    yield f"[bold]{entry.name}[/]: {escape(entry.summary)}"
    yield from map(Markdown, entry.text)
    if entry.facts:
        yield ""
    for title, value in entry.facts.items():
        yield f"[dim]{title}:[/] {escape(value)}"
    if entry.parameters:
        parameters = Table(title="parameters", title_justify="left")
        parameters.add_column("name", no_wrap=True)
        for heading in ("takes", "default", "meaning"):
            parameters.add_column(heading)
        for part in entry.parameters:
            row = map(Markdown, (part.values, part.default, part.meaning))
            parameters.add_row(f"[bold]{part.name}[/]", *row)
        yield parameters


def _study_parts(name: str, study: Study) -> Iterator[RenderableType]:
    """Yield the description, the axes and the size of a study."""
    yield f"[bold]{name}[/]: {escape(study.title)}"
    yield Markdown(study.description)
    for axis, labels in study.axes.items():
        yield f"[dim]{axis}:[/] {escape(', '.join(labels))}"
    yield f"[dim]runs:[/] {study.runs}"

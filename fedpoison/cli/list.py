"""`fedpoison list`: list the available choices."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fedpoison.cli import catalogue
from fedpoison.cli.options import Json
from fedpoison.data.datasets import datasets
from fedpoison.errors import unknown
from fedpoison.scenario import registries
from fedpoison.scenario.schedules import schedules
from fedpoison.studies.study import Study, built_in_studies, find_study
from strategies.base import Stage
from strategies.optimizers import ServerOptimizer


def list_command(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="One of attacks, strategies, preaggregators, optimizers, schedules, datasets, models, "
            "partitions, studies. Default: list these kinds.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(help="Entry to show in full, with its parameters. Default: list all entries."),
    ] = None,
    *,
    as_object: Json = False,
) -> None:
    """List available attacks, strategies, data sets, models, partitions or built-in studies."""
    if kind is None:
        typer.echo(json.dumps(list(_TABLES)) if as_object else f"fedpoison list {'|'.join(_TABLES)} [NAME]")
        return
    if kind not in _TABLES:
        raise unknown("kind", kind, _TABLES)
    rows = _TABLES[kind]()
    if name is not None and name not in rows:
        raise unknown(kind, name, rows)
    if name is None:
        if as_object:
            typer.echo(json.dumps(rows))
        else:
            Console().print(_table(kind, rows))
    elif kind == "studies":
        study = find_study(name)
        if as_object:
            typer.echo(json.dumps(study.content()))
        else:
            _show_study(study)
    else:
        entry = next(entry for entry in catalogue.entries(kind) if entry.name == name)
        if as_object:
            typer.echo(json.dumps(dataclasses.asdict(entry)))
        else:
            _show(entry)


def _attacks() -> dict[str, dict[str, str]]:
    return {
        name: {
            "what it does": _first_line(attack),
            "paper": attack.card.paper,
            "knowledge": attack.card.knowledge.value + (" + the rule" if attack.card.knows_rule else ""),
        }
        for name, attack in registries.attacks.entries().items()
    }


def _carded(entries: Mapping[str, type[Stage | ServerOptimizer]]) -> dict[str, dict[str, str]]:
    return {
        name: {
            "what it does": _first_line(entry),
            "paper": entry.card.paper,
            "needs": ", ".join(entry.card.needs) or "nothing",
            "precondition": entry.card.precondition,
        }
        for name, entry in entries.items()
    }


def _described(entries: Mapping[str, object]) -> dict[str, dict[str, str]]:
    return {name: {"what it is": _first_line(entry)} for name, entry in entries.items()}


def _studies() -> dict[str, dict[str, str]]:
    studies = {name: find_study(name) for name in built_in_studies()}
    return {
        name: {"what it shows": study.title, "axes": ", ".join(study.axes), "runs": str(len(study.cells()))}
        for name, study in studies.items()
    }


_TABLES: dict[str, Callable[[], dict[str, dict[str, str]]]] = {
    "attacks": _attacks,
    "strategies": lambda: _carded(registries.strategies.entries()),
    "preaggregators": lambda: _carded(registries.preaggregators.entries()),
    "optimizers": lambda: _carded(registries.optimizers.entries()),
    "schedules": lambda: _described(schedules.entries()),
    "datasets": lambda: {name: {"what it is": spec.title} for name, spec in datasets.entries().items()},
    "models": lambda: _described(registries.models.entries()),
    "partitions": lambda: _described(registries.partitions.entries()),
    "studies": _studies,
}


def _table(title: str, rows: dict[str, dict[str, str]]) -> Table:
    """Return one row per name. The facts are below the first line, because columns would not fit."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, row in rows.items():
        (_, first), *facts = row.items()
        text = "; ".join(f"{fact}: {value}" for fact, value in facts if value)
        table.add_row(name, Text.assemble(first, (f"\n{text}" if text else "", "dim")))
    return table


def _show(entry: catalogue.CatalogueEntry) -> None:
    """Print everything about one entry, as in the documentation."""
    console = Console()
    console.print(f"[bold]{entry.name}[/]: {escape(entry.summary)}", highlight=False)
    for paragraph in entry.text:
        console.print(Markdown(paragraph))
    if entry.facts:
        console.print()
    for title, value in entry.facts.items():
        console.print(f"[dim]{title}:[/] {escape(value)}", highlight=False)
    if entry.parameters:
        parameters = Table(title="parameters", title_justify="left")
        for column in ("name", "takes", "default", "meaning"):
            parameters.add_column(column)
        for part in entry.parameters:
            row = map(Markdown, (part.values, part.default, part.meaning))
            parameters.add_row(f"[bold]{part.name}[/]", *row)
        console.print(parameters)


def _show_study(study: Study) -> None:
    """Print the description, the axes and the size of a study."""
    console = Console()
    console.print(f"[bold]{study.name}[/]: {escape(study.title)}", highlight=False)
    console.print(Markdown(study.description))
    for axis, axis_values in study.axis_values().items():
        labels = ", ".join(str(level.label) for level in axis_values)
        console.print(f"[dim]{axis}:[/] {escape(labels)}", highlight=False)
    console.print(f"[dim]runs:[/] {len(study.cells())}", highlight=False)


def _first_line(entry: object) -> str:
    return (inspect.getdoc(entry) or "").partition("\n")[0]

"""`fedpoison list`: what there is to choose from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fedpoison import registries
from fedpoison.datasets import DATASETS
from fedpoison.schedules import schedules
from fedpoison.specs import Registry, unknown
from strategies.rule import Stage
from strategies.server_optimizer import ServerOptimizer


def listing(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="attacks|strategies|preaggregators|optimizers|schedules|datasets|models|partitions"
        ),
    ],
    name: Annotated[str | None, typer.Argument(help="Show this entry whole, with its knobs.")] = None,
) -> None:
    """List what a scenario can name, each with its first line, paper, knowledge and precondition."""
    if kind not in _TABLES:
        raise unknown("kind", kind, _TABLES)
    rows = _TABLES[kind]()
    if name is None:
        Console().print(_table(kind, rows))
        return
    if name not in rows:
        raise unknown(kind, name, rows)
    console = Console()
    console.print(f"[bold]{name}[/]")
    for title, value in rows[name].items():
        console.print(f"[dim]{title}:[/] {value}", highlight=False)
    for line in _knobs(kind, name):
        console.print(line, highlight=False, markup=False)


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


_TABLES: dict[str, Callable[[], dict[str, dict[str, str]]]] = {
    "attacks": _attacks,
    "strategies": lambda: _carded(registries.strategies.entries()),
    "preaggregators": lambda: _carded(registries.preaggregators.entries()),
    "optimizers": lambda: _carded(registries.optimizers.entries()),
    "schedules": lambda: _described(schedules.entries()),
    "datasets": lambda: {name: {"what it is": spec.title} for name, spec in DATASETS.items()},
    "models": lambda: _described(registries.models.entries()),
    "partitions": lambda: _described(registries.partitions.entries()),
}


def _table(title: str, rows: dict[str, dict[str, str]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("name", no_wrap=True)
    for column in next(iter(rows.values())):
        table.add_column(column)
    for name, row in rows.items():
        table.add_row(f"[bold]{name}[/]", *row.values())
    return table


def _knobs(kind: str, name: str) -> list[str]:
    known: dict[str, Registry[Any]] = {
        "attacks": registries.attacks,
        "strategies": registries.strategies,
        "preaggregators": registries.preaggregators,
        "optimizers": registries.optimizers,
        "schedules": schedules,
        "partitions": registries.partitions,
    }
    if kind not in known:
        return []
    entry: Callable[..., object] = known[kind][name]
    knobs = [str(parameter) for parameter in inspect.signature(entry).parameters.values()]
    card = getattr(entry, "card", None)
    facts = [] if card is None else [f"{field.name}: {getattr(card, field.name)}" for field in fields(card)]
    return [*facts, "knobs: " + (", ".join(knobs) or "none"), "", inspect.getdoc(entry) or ""]


def _first_line(entry: object) -> str:
    return (inspect.getdoc(entry) or "").partition("\n")[0]

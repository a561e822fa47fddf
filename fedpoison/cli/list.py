"""`fedpoison list`: the available choices, with their cards, docstrings and parameters."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal

import typer
from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from clients.attacks.base import Attack, AttackCard
from fedpoison.cli.options import Json
from fedpoison.data.datasets import datasets
from fedpoison.errors import unknown
from fedpoison.scenario import registries
from fedpoison.scenario.attackers import AttackerGroup
from fedpoison.scenario.schedules import schedules
from fedpoison.studies.study import Study, built_in_studies, find_study

REGISTRIES: dict[str, Callable[[], Mapping[str, Any]]] = {
    "attacks": registries.attacks.entries,
    "strategies": registries.strategies.entries,
    "preaggregators": registries.preaggregators.entries,
    "optimizers": registries.optimizers.entries,
    "schedules": schedules.entries,
    "datasets": datasets.entries,
    "models": registries.models.entries,
    "partitions": registries.partitions.entries,
}
"""Entries of each kind, by name."""
KINDS = [*REGISTRIES, "studies"]


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
        typer.echo(json.dumps(KINDS) if as_object else f"fedpoison list {'|'.join(KINDS)} [NAME]")
        return
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    rows = _studies() if kind == "studies" else {name: _row(it) for name, it in REGISTRIES[kind]().items()}
    if name is None:
        _print(rows, lambda: [_table(kind, rows)], as_object=as_object)
    elif name not in rows:
        raise unknown(kind, name, rows)
    elif kind == "studies":
        study = find_study(name)
        _print(study.content(), lambda: _study_parts(study), as_object=as_object)
    else:
        entry = next(entry for entry in entries(kind) if entry.name == name)
        _print(dataclasses.asdict(entry), lambda: _entry_parts(entry), as_object=as_object)


def _print(content: object, parts: Callable[[], Iterable[RenderableType]], *, as_object: bool) -> None:
    if as_object:
        typer.echo(json.dumps(content))
    else:
        Console(highlight=False).print(*parts(), sep="\n")


def _row(thing: Any) -> dict[str, str]:
    """Return the facts about an entry in a list of all entries, with its summary first."""
    summary, card = (inspect.getdoc(thing) or "").partition("\n")[0], getattr(thing, "card", None)
    if card is None:
        return {"what it is": getattr(thing, "title", summary)}
    row = {"what it does": summary, "paper": card.paper}
    if isinstance(card, AttackCard):
        return row | {"knowledge": card.knowledge.value + (" + the rule" if card.knows_rule else "")}
    return row | {"needs": ", ".join(card.needs) or "nothing", "precondition": card.precondition}


def _studies() -> dict[str, dict[str, str]]:
    studies = {name: find_study(name) for name in built_in_studies()}
    return {
        name: {"what it shows": study.title, "axes": ", ".join(study.axes), "runs": str(len(study.cells()))}
        for name, study in studies.items()
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


def _entry_parts(entry: CatalogueEntry) -> Iterator[RenderableType]:
    """Yield everything about one entry, as in the documentation."""
    yield f"[bold]{entry.name}[/]: {escape(entry.summary)}"
    yield from map(Markdown, entry.text)
    if entry.facts:
        yield ""
    for title, value in entry.facts.items():
        yield f"[dim]{title}:[/] {escape(value)}"
    if entry.parameters:
        parameters = Table("name", "takes", "default", "meaning", title="parameters", title_justify="left")
        for part in entry.parameters:
            row = map(Markdown, (part.values, part.default, part.meaning))
            parameters.add_row(f"[bold]{part.name}[/]", *row)
        yield parameters


def _study_parts(study: Study) -> Iterator[RenderableType]:
    """Yield the description, the axes and the size of a study."""
    yield f"[bold]{study.name}[/]: {escape(study.title)}"
    yield Markdown(study.description)
    for axis, axis_values in study.axis_values().items():
        labels = ", ".join(str(level.label) for level in axis_values)
        yield f"[dim]{axis}:[/] {escape(labels)}"
    yield f"[dim]runs:[/] {len(study.cells())}"


@dataclass(frozen=True)
class Parameter:
    """One parameter of an entry."""

    name: str
    values: str
    """Possible values, in Markdown."""
    default: str
    meaning: str


@dataclass(frozen=True)
class CatalogueEntry:
    """One name that a scenario can use."""

    name: str
    summary: str
    """First line of the docstring."""
    text: Sequence[str] = ()
    """Other paragraphs of the docstring, in Markdown."""
    example: str = ""
    """Doctest of the docstring."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Fields of the metadata card, and the stages that an attack acts on."""
    parameters: Sequence[Parameter] = ()


def entries(kind: str) -> list[CatalogueEntry]:
    """Return the entries of one kind, sorted by name.

    >>> [entry.name for entry in entries("partitions")][:2]
    ['dirichlet', 'iid']

    Raises:
        ScenarioError: the kind is unknown.
    """
    if kind not in REGISTRIES:
        raise unknown("kind", kind, REGISTRIES)
    found = REGISTRIES[kind]()
    if kind == "datasets":
        return [CatalogueEntry(name, source.title) for name, source in found.items()]
    return [_entry(name, thing) for name, thing in sorted(found.items())]


_STAGES = {"poison_data": "data", "train": "training", "craft": "updates"}


def _entry(name: str, thing: object) -> CatalogueEntry:
    lines, example = _without_example(inspect.getdoc(thing) or "")
    summary, *text = lines
    card = getattr(thing, "card", None)
    facts = {} if card is None else dict(_facts(card))
    if isinstance(thing, type) and issubclass(thing, Attack):
        stages = [name for hook, name in _STAGES.items() if getattr(thing, hook) is not getattr(Attack, hook)]
        facts = {"acts on": ", ".join(stages) or "nothing"} | facts
    parameters = list(_parameters(thing)) if isinstance(thing, type) else []
    return CatalogueEntry(name, summary, text, example, facts, parameters)


def _without_example(doc: str) -> tuple[list[str], str]:
    """Split a docstring into its paragraphs in Markdown and its doctest."""
    paragraphs, examples = [], []
    for block in doc.split("\n\n"):
        if block.lstrip().startswith(">>>"):
            examples.append(block)
        elif not block.startswith("Raises:"):  # a matter of the API
            is_list = block.startswith("- ")
            paragraphs.append(markdown(block if is_list else " ".join(block.split())))
    return paragraphs, "\n\n".join(examples)


def markdown(text: str) -> str:
    r"""Escape angle brackets and stars outside code, which Markdown reads as tags and emphasis.

    >>> print(markdown("the largest <z, update>, `a<b>`, 2 * a*b"))
    the largest &lt;z, update>, `a<b>`, 2 \* a\*b
    """
    return "".join(
        part if part.startswith("`") else part.replace("<", "&lt;").replace("*", r"\*")
        for part in re.split(r"(`[^`]*`)", text)
    )


def _facts(card: object) -> Iterator[tuple[str, str]]:
    """Yield the texts of a metadata card by name, and its true flags as one list."""
    flags = []
    for described in dataclasses.fields(card):  # type: ignore[arg-type]
        name, value = described.name.replace("_", " "), getattr(card, described.name)
        if isinstance(value, bool):
            flags += [name] if value else []
        elif value:
            text = value.value if isinstance(value, Enum) else value
            yield name, markdown(", ".join(map(str, text)) if isinstance(text, tuple) else str(text))
    if flags:
        yield "true of it", ", ".join(flags)


def _parameters(thing: type) -> Iterator[Parameter]:
    if not dataclasses.is_dataclass(thing):
        return
    types_of, meanings = typing.get_type_hints(thing), _field_docs(thing)
    for described in dataclasses.fields(thing):
        default = "-" if described.default is dataclasses.MISSING else format_value(described.default)
        meaning = markdown(" ".join(meanings.get(described.name, "").split()))
        yield Parameter(described.name, format_type(types_of[described.name]), default, meaning)


def _field_docs(thing: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass and its bases."""
    found: dict[str, str] = {}
    for part in reversed(thing.__mro__):
        if not dataclasses.is_dataclass(part):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for statement, after in itertools.pairwise(statements):
            match statement, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                    found[name] = str(text)
    return found


def format_type(annotation: Any) -> str:
    """Return the type of a parameter or field in words.

    >>> format_type(Literal[1, 2]), format_type(float | None), format_type(tuple[int, ...])
    ('`1`, `2`', 'number or none', 'list: whole number')
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return format_type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{format_value(value)}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(format_type(part) for part in arguments)
    if origin is tuple:
        return f"list: {format_type(arguments[0])}"
    return _WORDS[annotation]


_WORDS: dict[Any, str] = {
    bool: "true, false",
    int: "whole number",
    float: "number",
    str: "text",
    AttackerGroup: "group",
    type(None): "none",
}


def format_value(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)

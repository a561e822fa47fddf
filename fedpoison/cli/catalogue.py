"""Catalogue of names, metadata cards, docstrings and parameters."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal

from clients.attacks.base import Attack
from fedpoison.data.datasets import datasets
from fedpoison.errors import unknown
from fedpoison.scenario import registries
from fedpoison.scenario.attackers import AttackerGroup
from fedpoison.scenario.schedules import schedules

REGISTRIES: dict[str, Callable[[], Mapping[str, object]]] = {
    "attacks": registries.attacks.entries,
    "strategies": registries.strategies.entries,
    "preaggregators": registries.preaggregators.entries,
    "optimizers": registries.optimizers.entries,
    "schedules": schedules.entries,
    "partitions": registries.partitions.entries,
    "models": registries.models.entries,
}
"""Entries of each kind, by name."""


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
    if kind == "datasets":
        return [CatalogueEntry(name, source.title) for name, source in datasets.entries().items()]
    if kind not in REGISTRIES:
        raise unknown("kind", kind, [*REGISTRIES, "datasets"])
    return [_entry(name, thing) for name, thing in sorted(REGISTRIES[kind]().items())]


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
            yield name, markdown(_format_fact(value))
    if flags:
        yield "true of it", ", ".join(flags)


def _format_fact(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


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
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[statement.target.id] = str(after.value.value)
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

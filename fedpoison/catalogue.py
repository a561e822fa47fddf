"""The pages of the documentation that are read off the code: names, cards, docstrings and knobs."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic.fields import FieldInfo

from clients.attack import Attack
from fedpoison import registries
from fedpoison.attackers import AttackerGroup
from fedpoison.datasets import datasets
from fedpoison.errors import unknown
from fedpoison.scenario import Scenario
from fedpoison.schedules import schedules

NAMED: dict[str, Callable[[], Mapping[str, object]]] = {
    "attacks": registries.attacks.entries,
    "strategies": registries.strategies.entries,
    "preaggregators": registries.preaggregators.entries,
    "optimizers": registries.optimizers.entries,
    "schedules": schedules.entries,
    "partitions": registries.partitions.entries,
    "models": registries.models.entries,
}
"""What there is of each kind, by name."""


@dataclass(frozen=True)
class Knob:
    """One knob of an entry."""

    name: str
    values: str
    """What it takes, in Markdown."""
    default: str
    meaning: str


@dataclass(frozen=True)
class Entry:
    """One named thing, as the documentation shows it."""

    name: str
    summary: str
    """The first line of its docstring."""
    text: Sequence[str] = ()
    """The other paragraphs, in Markdown."""
    example: str = ""
    """Its doctest."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What its card says, and which doors an attack goes through."""
    knobs: Sequence[Knob] = ()


def entries(kind: str) -> list[Entry]:
    """Return what there is of one kind, sorted by name.

    >>> [entry.name for entry in entries("partitions")][:2]
    ['dirichlet', 'iid']

    Raises:
        ScenarioError: there is no such kind.
    """
    if kind == "datasets":
        return [Entry(name, source.title) for name, source in datasets.entries().items()]
    if kind not in NAMED:
        raise unknown("kind", kind, [*NAMED, "datasets"])
    return [_entry(name, thing) for name, thing in sorted(NAMED[kind]().items())]


def page(kind: str) -> str:
    """Return the body of the page on one kind: a table of all entries, then each with its knobs.

    Raises:
        ScenarioError: there is no such kind.
    """
    found = entries(kind)
    whole = [entry for entry in found if entry.text or entry.facts or entry.knobs]
    linked = {entry.name: f"[`{entry.name}`](#{entry.name})" for entry in whole}
    columns = [title for title in _COLUMNS if any(title in entry.facts for entry in found)]
    rows = [
        (linked.get(entry.name, f"`{entry.name}`"), entry.summary, *(entry.facts.get(c, "") for c in columns))
        for entry in found
    ]
    parts = [f"{len(found)} in all.", table(("name", "what it does", *columns), rows)]
    return "\n\n".join([*parts, *(_section(entry) for entry in whole)]) + "\n"


_COLUMNS = ("acts on", "needs", "paper")
"""Facts that stand in the table at the top of a page."""
_DOORS = {"poison_data": "data", "train": "training", "craft": "updates"}


def scenario_fields() -> str:
    """Return the table of all fields of a scenario."""
    rows = [
        (f"`{name}`", _spell_type(info.annotation), _default(info), info.description or "")
        for name, info in Scenario.model_fields.items()
    ]
    return table(("field", "takes", "default", "meaning"), rows) + "\n"


def _entry(name: str, thing: object) -> Entry:
    lines, example = _without_example(inspect.getdoc(thing) or "")
    summary, *text = lines
    card = getattr(thing, "card", None)
    facts = {} if card is None else dict(_facts(card))
    if isinstance(thing, type) and issubclass(thing, Attack):
        doors = [what for door, what in _DOORS.items() if getattr(thing, door) is not getattr(Attack, door)]
        facts = {"acts on": ", ".join(doors) or "nothing"} | facts
    knobs = list(_knobs(thing)) if isinstance(thing, type) else []
    return Entry(name, summary, text, example, facts, knobs)


def _section(entry: Entry) -> str:
    parts = [f"## `{entry.name}`", entry.summary, *entry.text]
    parts += ["\n".join(f"- **{title}**: {fact}" for title, fact in entry.facts.items())]
    if entry.knobs:
        rows = [(f"`{knob.name}`", knob.values, f"`{knob.default}`", knob.meaning) for knob in entry.knobs]
        parts.append(table(("knob", "takes", "default", "meaning"), rows))
    if entry.example:
        parts.append(f"```pycon\n{entry.example}\n```")
    return "\n\n".join(part for part in parts if part)


def _without_example(doc: str) -> tuple[list[str], str]:
    """Return the paragraphs of a docstring in Markdown, and its doctest apart from them."""
    paragraphs, examples = [], []
    for block in doc.split("\n\n"):
        if block.lstrip().startswith(">>>"):
            examples.append(block)
        elif not block.startswith("Raises:"):  # a matter of the API
            is_list = block.startswith("- ")
            paragraphs.append(markdown(block if is_list else " ".join(block.split())))
    return paragraphs, "\n\n".join(examples)


def markdown(text: str) -> str:
    r"""Return a docstring's text as Markdown: outside code angle brackets are no tags and stars no emphasis.

    >>> print(markdown("the largest <z, update>, `a<b>`, 2 * a*b"))
    the largest &lt;z, update>, `a<b>`, 2 \* a\*b
    """
    return "".join(
        part if part.startswith("`") else part.replace("<", "&lt;").replace("*", r"\*")
        for part in re.split(r"(`[^`]*`)", text)
    )


def _facts(card: object) -> Iterator[tuple[str, str]]:
    """Yield what a card says: its texts by name, and the flags that are set as one list."""
    flags = []
    for described in dataclasses.fields(card):  # type: ignore[arg-type]
        name, value = described.name.replace("_", " "), getattr(card, described.name)
        if isinstance(value, bool):
            flags += [name] if value else []
        elif value:
            yield name, markdown(_spell_fact(value))
    if flags:
        yield "true of it", ", ".join(flags)


def _spell_fact(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _knobs(thing: type) -> Iterator[Knob]:
    if not dataclasses.is_dataclass(thing):
        return
    types_of, meanings = typing.get_type_hints(thing), _field_docs(thing)
    for described in dataclasses.fields(thing):
        default = "-" if described.default is dataclasses.MISSING else _spell_value(described.default)
        meaning = markdown(" ".join(meanings.get(described.name, "").split()))
        yield Knob(described.name, _spell_type(types_of[described.name]), default, meaning)


def _field_docs(thing: type) -> dict[str, str]:
    """Return the text under each field of a dataclass, its bases' included."""
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


def _spell_type(annotation: Any) -> str:
    """Return in words what a knob or a field takes.

    >>> _spell_type(Literal[1, 2]), _spell_type(float | None), _spell_type(tuple[int, ...])
    ('`1`, `2`', 'number or none', 'list: whole number')
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _spell_type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{_spell_value(value)}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_spell_type(part) for part in arguments)
    if origin is tuple:
        return f"list: {_spell_type(arguments[0])}"
    return _WORDS[annotation]


_WORDS: dict[Any, str] = {
    bool: "true, false",
    int: "whole number",
    float: "number",
    str: "text",
    AttackerGroup: "group",
    type(None): "none",
}


def _spell_value(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _default(info: FieldInfo) -> str:
    return "unset" if info.default in (None, ()) else f"`{_spell_value(info.default)}`"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

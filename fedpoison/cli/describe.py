"""Describe all names that a scenario can use, from their docstrings, metadata cards and parameters.

`python -m fedpoison.cli.describe` writes `catalogue.json` for `fedpoison list` and shell completion.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal

import click

from clients.attacks.base import Attack, AttackCard
from fedpoison.cli.app import COMMANDS, load_command
from fedpoison.cli.catalogue import FILE, CatalogueEntry, Kind, Option, Parameter, Study
from fedpoison.data.datasets import datasets
from fedpoison.errors import unknown
from fedpoison.registry import Registry
from fedpoison.results.strict_json import to_json
from fedpoison.scenario import registries
from fedpoison.scenario.attackers import AttackerGroup
from fedpoison.scenario.model_spec import builder_parameters
from fedpoison.scenario.schedules import schedules
from fedpoison.studies.study import built_in_studies, find_study

REGISTRIES: dict[str, Registry[Any]] = {
    "attacks": registries.attacks,
    "strategies": registries.strategies,
    "preaggregators": registries.preaggregators,
    "optimizers": registries.optimizers,
    "schedules": schedules,
    "datasets": datasets,
    "models": registries.models,
    "partitions": registries.partitions,
}
"""Registry of each kind."""


def built_in_catalogue() -> dict[str, object]:
    """Return the content of `catalogue.json`: all built-in names, and the options of all commands."""
    kinds = {name: describe_kind(name, registry.builtin) for name, registry in REGISTRIES.items()}
    return {
        "kinds": {name: dataclasses.asdict(kind) for name, kind in kinds.items()},
        "studies": {name: dataclasses.asdict(_study(name)) for name in built_in_studies()},
        "commands": {name: [dataclasses.asdict(part) for part in _options(name)] for name in COMMANDS},
    }


def describe_kind(kind: str, things: Mapping[str, Any] | None = None) -> Kind:
    """Return the table and the entries of `things`. Default: of all names, also of other packages."""
    things = REGISTRIES[kind].entries() if things is None else things
    return Kind({name: _row(thing) for name, thing in things.items()}, _entries(kind, things))


def _study(name: str) -> Study:
    study = find_study(name)
    return Study(
        title=study.title,
        description=study.description,
        axes={axis: [str(level.label) for level in levels] for axis, levels in study.axis_values().items()},
        runs=len(study.cells()),
        content=study.content(),
    )


def _options(command: str) -> Iterator[Option]:
    """Yield the arguments and options of a command."""
    for part in load_command(command).params:
        flag = isinstance(part, click.Option) and part.is_flag
        yield Option(
            names=["/".join([*part.opts, *part.secondary_opts])] if part.secondary_opts else [*part.opts],
            help=getattr(part, "help", None) or "",
            takes="flag" if flag else "path" if isinstance(part.type, click.Path) else "text",
            choices=[*part.type.choices] if isinstance(part.type, click.Choice) else [],
            repeatable=part.multiple or part.nargs < 0,
        )


def _row(thing: Any) -> dict[str, str]:
    """Return the facts about an entry in a list of all entries, with its summary first."""
    summary, card = (inspect.getdoc(thing) or "").partition("\n")[0], getattr(thing, "card", None)
    if card is None:
        return {"what it is": summary if isinstance(thing, type) else getattr(thing, "title", summary)}
    row = {"what it does": summary, "paper": card.paper}
    if isinstance(card, AttackCard):
        return row | {"knowledge": card.knowledge.value + (" + the rule" if card.knows_rule else "")}
    return row | {"needs": ", ".join(card.needs) or "nothing", "precondition": card.precondition}


def entries(kind: str) -> list[CatalogueEntry]:
    """Return the entries of one kind, sorted by name.

    >>> [entry.name for entry in entries("partitions")][:2]
    ['bias', 'dirichlet']

    Raises:
        ScenarioError: the kind is unknown.
    """
    if kind not in REGISTRIES:
        raise unknown("kind", kind, REGISTRIES)
    return _entries(kind, REGISTRIES[kind].entries())


def _entries(kind: str, things: Mapping[str, Any]) -> list[CatalogueEntry]:
    return [
        _entry(name, thing)
        if isinstance(thing, type) or kind != "datasets"
        else CatalogueEntry(name, thing.title)
        for name, thing in sorted(things.items())
    ]


_STAGES = {"poison_data": "data", "train": "training", "craft": "updates"}


def _entry(name: str, thing: object) -> CatalogueEntry:
    lines, example = _without_example(inspect.getdoc(thing) or "")
    summary, *text = lines
    card = getattr(thing, "card", None)
    facts = {} if card is None else dict(_facts(card))
    if isinstance(thing, type) and issubclass(thing, Attack):
        stages = [name for hook, name in _STAGES.items() if getattr(thing, hook) is not getattr(Attack, hook)]
        facts = {"acts on": ", ".join(stages) or "nothing"} | facts
    parameters = list(_parameters(thing) if isinstance(thing, type) else _builder_parameters(thing))
    return CatalogueEntry(name, summary, text, example, facts, parameters)


def _without_example(doc: str) -> tuple[list[str], str]:
    """Split a docstring into its paragraphs in Markdown and its doctest."""
    paragraphs, examples = [], []
    for block in doc.split("\n\n"):
        if block.lstrip().startswith(">>>"):
            examples.append(block)
        elif not block.startswith(("Raises:", "Args:")):  # matters of the API
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


def _builder_parameters(builder: object) -> Iterator[Parameter]:
    """Yield the parameters of a function that builds a model, with their texts in its docstring."""
    if not callable(builder):
        return
    doc = (inspect.getdoc(builder) or "").partition("Args:\n")[2]
    meanings = dict(re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", doc, re.MULTILINE))
    for name, part in builder_parameters(builder).items():
        meaning = markdown(" ".join(meanings.get(name, "").split()))
        yield Parameter(name, format_type(part.annotation), format_value(part.default), meaning)


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


def main() -> None:
    """Write `catalogue.json`."""
    FILE.write_text(to_json(built_in_catalogue(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

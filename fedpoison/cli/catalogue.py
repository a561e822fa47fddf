"""Names that a scenario can use, from a file, so that a command can show them without torch."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fedpoison.registry import GROUPS, added

FILE = Path(__file__).with_name("catalogue.json")
"""All built-in names, and the options of all commands. `python -m fedpoison.cli.describe` writes the file."""
STUDIES = "studies"
KINDS = [*GROUPS, STUDIES]


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


@dataclass(frozen=True)
class Kind:
    """All names of one kind."""

    table: Mapping[str, Mapping[str, str]]
    """Facts by name. The first fact is the summary."""
    entries: Sequence[CatalogueEntry]


@dataclass(frozen=True)
class Study:
    """A built-in study."""

    title: str
    description: str
    axes: Mapping[str, Sequence[str]]
    """Label of each value of each axis."""
    runs: int
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Option:
    """An argument or an option of a command, for completion."""

    names: Sequence[str]
    help: str
    takes: Literal["flag", "path", "text"]
    choices: Sequence[str]
    repeatable: bool


@functools.cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def load_kind(kind: str) -> Kind:
    """Return all names of one kind. If another package adds names, load its modules, and with them torch."""
    if added(GROUPS[kind]):
        from fedpoison.cli.describe import describe_kind  # noqa: PLC0415  # loads torch

        return describe_kind(kind)
    stored = _content()["kinds"][kind]
    return Kind(stored["table"], [_entry(**fields) for fields in stored["entries"]])


def _entry(parameters: Sequence[Mapping[str, str]], **fields: Any) -> CatalogueEntry:
    return CatalogueEntry(**fields, parameters=[Parameter(**each) for each in parameters])


def broken_entry_points(kind: str) -> list[str]:
    """Return the message of each name of another package that cannot be used."""
    if not added(GROUPS.get(kind, "")):
        return []
    from fedpoison.cli.describe import REGISTRIES  # noqa: PLC0415  # loads torch

    return REGISTRIES[kind].broken()


def load_studies() -> dict[str, Study]:
    """Return the built-in studies by name."""
    return {name: Study(**fields) for name, fields in _content()[STUDIES].items()}


def load_options(command: str) -> list[Option]:
    """Return the arguments and options of a command."""
    return [Option(**fields) for fields in _content()["commands"][command]]


def names(kind: str) -> list[str]:
    """Return all names of one kind, without loading the modules of other packages."""
    if kind == STUDIES:
        return sorted(_content()[STUDIES])
    return sorted({*_content()["kinds"][kind]["table"], *added(GROUPS[kind])})

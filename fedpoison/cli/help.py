"""Help of a command: each option in full at any width of the terminal, with range and default in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast, get_args, get_origin

import annotated_types
import click
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

DEFAULT = "Default:"


class HelpCommand(TyperCommand):
    """A command that prints its help as one panel per group of options."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the usage, the description and the panels to stdout."""
        console = Console(emoji=False, highlight=False)
        console.print(Padding(Text(self.get_usage(ctx), style="bold"), 1))
        console.print(Padding(Text(self.help or ""), (0, 1, 1, 1)))
        panels: dict[str, list[click.Parameter]] = defaultdict(list)
        for part in self.get_params(ctx):
            usual = "Arguments" if isinstance(part, click.Argument) else "Options"
            panels[getattr(part, "rich_help_panel", None) or usual].append(part)
        for title in sorted(panels, key=["Arguments", "Options", *panels].index):
            console.print(_panel(title, panels[title], ctx))


def _panel(title: str, parts: Sequence[click.Parameter], ctx: click.Context) -> Panel:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for part in parts:
        table.add_row(Text("\n".join(_names(part, ctx)), style="bold cyan"), _meaning(part))
    return Panel(table, title=title, title_align="left", border_style="dim")


def _names(part: click.Parameter, ctx: click.Context) -> list[str]:
    """Return the names of an option with the type of its value, or the name of an argument, in lines."""
    if isinstance(part, click.Argument):
        return [part.make_metavar(ctx)]
    names = ", ".join(sorted(part.opts, key=len))
    if part.secondary_opts:
        return [names, *part.secondary_opts]
    if isinstance(part, click.Option) and part.is_flag:
        return [names]
    return [f"{names} {part.metavar or _TYPES.get(part.type.name, part.type.name.upper())}"]


_TYPES = {"choice": "NAME", "float": "NUMBER", "float range": "NUMBER", "integer range": "INTEGER"}
"""Words for types whose name in click is long, or a word of programmers."""


def _meaning(part: click.Parameter) -> str:
    """Return the help with the choices, the range and the default."""
    text = getattr(part, "help", None) or ""
    if isinstance(part.type, click.Choice):
        text = _before_default(text, _one_of(part.type.choices))
    if isinstance(part.type, click.IntRange | click.FloatRange):
        text = _before_default(text, range_in_words({"at least": part.type.min, "at most": part.type.max}))
    return " ".join([text, *_default(part, text)])


def _default(part: click.Parameter, text: str) -> Iterator[str]:
    """Yield the sentence about the default, unless the help has one."""
    if part.required:
        yield "Required."
    elif isinstance(part, click.Option) and part.is_flag:
        if part.secondary_opts:
            yield f"{DEFAULT} {part.opts[0] if part.default else part.secondary_opts[0]}."
    elif part.default not in (None, "") and not callable(part.default) and DEFAULT not in text:
        yield f"{DEFAULT} {part.default}."


def field_help(description: str, types: Iterable[object]) -> str:
    """Return the description of a field with the choices and the range that its types declare.

    >>> from typing import Annotated
    >>> field_help("Number of runs. Default: all.", [Annotated[int, annotated_types.Ge(1)] | None])
    'Number of runs. At least 1. Default: all.'
    """
    ends: dict[str, float | None] = {}
    for part in _flat(types):
        match part:
            case annotated_types.Ge(ge=end):
                ends["at least"] = cast("float", end)
            case annotated_types.Gt(gt=end):
                ends["more than"] = cast("float", end)
            case annotated_types.Le(le=end):
                ends["at most"] = cast("float", end)
            case annotated_types.Lt(lt=end):
                ends["less than"] = cast("float", end)
            case _ if get_origin(part) is Literal:
                description = _before_default(description, _one_of(get_args(part)))
    if "0 means" in description:
        return description
    return _before_default(description, range_in_words(ends))


def _flat(types: Iterable[Any]) -> Iterator[object]:
    """Yield types and all parts of them, with their metadata, but not the items of a list."""
    for part in types:
        yield part
        yield from _flat(getattr(part, "metadata", ()))
        if get_origin(part) not in (None, tuple, Literal):
            yield from _flat(get_args(part))


def _before_default(text: str, sentence: str) -> str:
    """Insert a sentence in front of the sentence about the default."""
    meaning, default, value = text.partition(DEFAULT)
    return " ".join(part for part in (meaning.strip(), sentence, f"{default}{value}") if part)


def _one_of(choices: Iterable[object]) -> str:
    return f"One of {', '.join(map(str, choices))}."


def range_in_words(ends: Mapping[str, float | None]) -> str:
    """Return a sentence about the range of a number.

    >>> range_in_words({"at least": 0, "at most": 1}), range_in_words({"more than": 0})
    ('From 0 to 1.', 'More than 0.')
    """
    match ends:
        case {"at least": float() | int() as low, "at most": float() | int() as high}:
            return f"From {low:g} to {high:g}."
    text = ", ".join(f"{words} {end:g}" for words, end in ends.items() if end is not None)
    return f"{text[:1].upper()}{text[1:]}." if text else ""

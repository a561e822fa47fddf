"""Documentation page of the command line."""

from __future__ import annotations

from collections.abc import Iterator

import click

from fedpoison.cli.app import COMMANDS, load_command
from fedpoison.cli.catalogue import markdown, table
from fedpoison.cli.options import SCENARIO_PANEL


def page() -> str:
    """Return a section per command with its options. One sentence replaces the fields of a scenario."""
    sections = [part for name in COMMANDS for part in _section(name, load_command(name))]
    return "\n\n".join(sections) + "\n"


def _section(name: str, command: click.Command) -> Iterator[str]:
    yield f"## `fedpoison {name}`"
    pieces = command.collect_usage_pieces(click.Context(command))
    yield f"```\n{' '.join(['fedpoison', name, *pieces])}\n```"
    yield markdown("\n".join(line.strip() for line in (command.help or "").splitlines()))
    arguments = [part for part in command.params if isinstance(part, click.Argument)]
    if arguments:
        yield table(("argument", "meaning"), [_argument(argument) for argument in arguments])
    options = [part for part in command.params if isinstance(part, click.Option)]
    own = [part for part in options if getattr(part, "rich_help_panel", None) != SCENARIO_PANEL]
    if own:
        yield table(("option", "meaning", "default"), [_row(option) for option in own])
    if len(own) < len(options):
        yield "The [fields of a scenario](scenario.md) that this command uses are options, too."


def _argument(argument: click.Argument) -> tuple[str, str]:
    name = argument.make_metavar(click.Context(click.Command(None)))
    return f"`{name}`", markdown(getattr(argument, "help", None) or "")


def _row(option: click.Option) -> tuple[str, str, str]:
    shown = option.default not in (None, "") and not callable(option.default) and not option.is_flag
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    meaning = markdown(option.help or "")
    if isinstance(option.type, click.Choice):
        meaning += f" One of {', '.join(f'`{choice}`' for choice in option.type.choices)}."
    return names, meaning, f"`{option.default}`" if shown else ""

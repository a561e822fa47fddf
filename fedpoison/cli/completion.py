"""Shell completion: the options of each command and the names that they take, from the catalogue."""

from __future__ import annotations

import re
from typing import Any

import click
from click.shell_completion import CompletionItem

from fedpoison.cli.catalogue import KINDS, STUDIES, Option, load_options, names

VALUES = {
    "attack": "attacks",
    "attacks": "attacks",
    "dataset": "datasets",
    "malicious_partition": "partitions",
    "model": "models",
    "partition": "partitions",
    "schedule": "schedules",
    "strategies": "strategies",
    "strategy": "strategies",
    "study": STUDIES,
}
"""Kind of the names that an option or an argument takes."""


def completing_command(name: str) -> click.Command:
    """Return a command with the options of `name`. It completes them, and runs nothing."""
    return click.Command(name, params=[_parameter(option) for option in load_options(name)])


def _parameter(option: Option) -> click.Parameter:
    takes: click.ParamType[Any] | None = click.Path() if option.takes == "path" else None
    if option.choices:
        takes = click.Choice(option.choices)
    many = option.repeatable
    if not option.names[0].startswith("-"):
        return click.Argument(
            option.names, type=takes, required=False, nargs=-1 if many else 1, shell_complete=_complete
        )
    return click.Option(
        option.names,
        type=takes,
        help=option.help,
        is_flag=option.takes == "flag",
        multiple=many,
        shell_complete=None if takes else _complete,
    )


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names that the last part of a list or a combination such as `backdoor+ipm` can become."""
    match ctx.command.name, parameter.name:
        case "list", "kind":
            choices = KINDS
        case "list", "name":
            choices = names(ctx.params["kind"]) if ctx.params.get("kind") in KINDS else []
        case _, name:
            choices = names(VALUES[name]) if name in VALUES else []
    head = re.findall(r".*[,+|]|", incomplete)[0]
    matches = [choice for choice in choices if choice.startswith(incomplete.removeprefix(head))]
    return [CompletionItem(head + match) for match in matches]

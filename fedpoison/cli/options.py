"""Every field of the scenario as an option."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from rich.console import Console

from fedpoison.attackers import AttackerGroup
from fedpoison.fields import About, fields_about, read_toml
from fedpoison.scenario import Scenario

Out = Annotated[Path, typer.Option("--out", "-o", help="The run store: each run gets a folder of its own.")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Where the data sets lie; else FEDPOISON_DATA, else the user's cache.", show_default=False
    ),
]
WorkerCount = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Nodes trained at once; one a processor if unset.", show_default=False
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Runs at once; one a processor if unset. 1 stays in this process, without Ray.",
        show_default=False,
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Make runs anew that the store already holds.")]
RayAddress = Annotated[
    str | None,
    typer.Option(help="A Ray cluster to run on: auto, or host:port.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
_SIZES = fields_about(Scenario, About.SIZE)
SCENARIO_PANEL = "Scenario"
"""Where the help shows the fields of the scenario."""
_File = Annotated[
    Path | None,
    typer.Argument(help="A scenario in TOML; options override its fields."),
]


def with_scenario(
    *, without: Collection[str] = (), **defaults: object
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every field of the scenario; it receives them as `scenario`.

    Args:
        without: fields that the command does not offer, and leaves out of a file that has them.
        defaults: values that differ from the scenario's own defaults in this command.
    """
    offered = {name: field for name, field in Scenario.model_fields.items() if name not in without}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(scenario_file: Path | None = None, **options: Any) -> None:
            given = {name: options.pop(name) for name in offered}
            read = read_toml(scenario_file) if scenario_file is not None else {}
            unused = {name: read.pop(name) for name in sorted(without) if name in read}
            if unused:
                Console(stderr=True, soft_wrap=True).print(
                    f"{scenario_file}: its {', '.join(unused)} not used, as this command sets that itself",
                    style="yellow",
                    markup=False,
                )
            fields = defaults | read
            given = {name: value for name, value in given.items() if value not in (None, [])}
            if any(name in given for name in _SIZES):  # an option takes the place of another way to say it
                fields = {name: value for name, value in fields.items() if name not in _SIZES}
            fields |= given
            command(scenario=Scenario.parse(fields), **options)

        own = inspect.signature(command, eval_str=True).parameters.values()
        keywords = [parameter for parameter in own if parameter.name != "scenario"]
        keywords += [
            _option(name, field.annotation, field.description, defaults.get(name, field.default))
            for name, field in offered.items()
        ]
        file = inspect.Parameter(
            "scenario_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_File
        )
        wrapped.__signature__ = inspect.Signature([file, *keywords])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in [file, *keywords]}
        return wrapped

    return decorate


def _option(name: str, annotation: Any, description: str | None, default: object) -> inspect.Parameter:
    shown = "unset" if default in (None, ()) else str(default)
    names = _NAMES.get(name, ())
    option = typer.Option(*names, help=description, show_default=shown, rich_help_panel=SCENARIO_PANEL)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[_plain(annotation) | None, option],
    )


_NAMES = {"groups": ("--group",)}
"""Options that are not named like their field: this one is given once for each group."""


def _plain(annotation: Any) -> type:
    """Return the type that the command line reads for a field; pydantic does the rest."""
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return _plain(next(part for part in typing.get_args(annotation) if part is not type(None)))
    if origin is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if origin is tuple and typing.get_args(annotation)[0] is AttackerGroup:
        return list[str]
    if origin is Literal or origin is tuple:
        return str
    return cast("type", annotation)

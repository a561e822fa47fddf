"""Options of several commands: fields of a scenario, settings of a batch, comma-separated lists."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import annotated_types
import click
import typer
from click.core import ParameterSource
from pydantic.fields import FieldInfo
from rich.console import Console

from fedpoison.cli.help import field_help
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import Format, TextTable, print_tables
from fedpoison.errors import ScenarioError
from fedpoison.results.strict_json import to_json
from fedpoison.scenario.aggregation import read_aggregation
from fedpoison.scenario.attackers import AttackerGroup
from fedpoison.scenario.fields import About, fields_about, read_toml
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import split_outside
from fedpoison.simulation.batch import BatchOptions

Command = Callable[..., None]
Number = TypeVar("Number", int, float)

Out = Annotated[Path, typer.Option("--out", "-o", help="Run store. Each run gets its own folder in it.")]
Data = Annotated[
    Path | None,
    typer.Option(help="Data set folder. Default: $FEDPOISON_DATA, or the user cache."),
]
WorkerCount = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Number of clients trained in parallel. Default: one per CPU."),
]
EvaluationThreads = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Number of threads that evaluate. Default: one per CPU."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="Address of a Ray cluster: auto, or host:port. Default: a new cluster."),
]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of rounds between two checkpoints, from which an interrupted run continues. Default: by "
        "time, at most 2 % of the run.",
    ),
]
Attacks = Annotated[str, typer.Option(help="Attacks, separated by commas.")]
Strategies = Annotated[str, typer.Option(help="Strategies, separated by commas.")]
STRATEGIES = "fedavg,krum,trimmed-mean,median"
"""Default strategies of commands that compare strategies."""
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
_SIZES = fields_about(Scenario, About.SIZE)
SCENARIO_PANEL = "Scenario"
"""Section of the help that lists the fields of the scenario."""


@dataclass(frozen=True)
class BatchSettings:
    """Options of every command that runs many scenarios."""

    form: Annotated[
        Format,
        typer.Option("--format", help="Format of the tables. LaTeX needs booktabs and longtable."),
    ] = "terminal"
    as_object: Json = False
    out: Out = Path("runs")
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Repeat complete runs of the store, and start interrupted runs again. "
            "A complete result stays until the end of the new run.",
        ),
    ] = False
    checkpoint_every: CheckpointEvery = None
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of parallel runs. With 1, runs stay in this process and Ray is not used. "
            "Default: one per CPU.",
        ),
    ] = None
    ray_address: RayAddress = None
    data_dir: Data = None

    def options(self, progress: BatchProgress) -> BatchOptions:
        """Return the arguments of a library function that runs a batch and reports to `progress`."""
        return {
            "out": self.out,
            "jobs": self.jobs,
            "ray_address": self.ray_address,
            "fresh": self.fresh,
            "checkpoint_every": self.checkpoint_every,
            "data_dir": self.data_dir,
            "callbacks": progress.callbacks(),
            "notify": progress.warn,
        }

    def show(
        self, content: Callable[[], Mapping[str, object]], tables: Callable[[], Sequence[TextTable]]
    ) -> None:
        """Print the result: as one JSON object if the user asked for it, and otherwise as tables."""
        if self.as_object:
            typer.echo(to_json(content()))
        else:
            print_tables(tables(), self.form)

    def print_notes(self, notes: Iterable[str]) -> None:
        """Print the notes below the tables. A note about no result is bold."""
        for note in notes:
            style = "bold yellow" if "no result" in note else None
            self.notes.print(f"* {note}", markup=False, style=style)

    @property
    def notes(self) -> Console:
        """Console for all text but the tables: stderr, unless the tables are for the terminal."""
        return Console(
            emoji=False, stderr=self.form != "terminal", quiet=self.as_object, highlight=False, soft_wrap=True
        )


def with_batch_settings(command: Command) -> Command:
    """Add an option per field of `BatchSettings` to a command, which receives them as `settings`."""
    names = [field.name for field in dataclasses.fields(BatchSettings)]

    @functools.wraps(command)
    def wrapped(**options: Any) -> None:
        settings = BatchSettings(**{name: options.pop(name) for name in names})
        command(settings=settings, **options)

    return _with_signature(wrapped, [*_parameters(command, "settings"), *_parameters(BatchSettings)])


def with_scenario(*, without: Collection[str] = (), **defaults: object) -> Callable[[Command], Command]:
    """Add an option per field of the scenario to a command, which receives them as `scenario`.

    Args:
        without: fields without an option. In a file, the command ignores them with a warning.
        defaults: values that differ from the default values of the scenario.
    """
    offered = {name: field for name, field in Scenario.model_fields.items() if name not in without}

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(scenario_file: Path | None = None, **options: Any) -> None:
            given = {name: value for name in offered if _is_given(name, value := options.pop(name))}
            read = read_toml(scenario_file) if scenario_file is not None else {}
            unused = {name: read.pop(name) for name in sorted(without) if name in read}
            if unused:
                Console(emoji=False, stderr=True, soft_wrap=True).print(
                    f"{scenario_file}: {', '.join(unused)} not used, because the command sets these fields",
                    style="yellow",
                    markup=False,
                )
            fields = defaults | read
            if any(name in given for name in _SIZES):  # an option replaces every size in the file
                fields = {name: value for name, value in fields.items() if name not in _SIZES}
            fields |= given
            command(scenario=Scenario.parse(fields), **options)

        file = inspect.Parameter("scenario_file", _KEYWORD, default=None, annotation=_File)
        own = _parameters(command, "scenario")
        options = [_option(name, field, defaults.get(name, field.default)) for name, field in offered.items()]
        return _with_signature(wrapped, [file, *own, *options])

    return decorate


_File = Annotated[Path | None, typer.Argument(help="Scenario, a TOML file. Options override its fields.")]
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameters(function: Callable[..., object], without: str = "") -> list[inspect.Parameter]:
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    return [parameter.replace(kind=_KEYWORD) for parameter in parameters if parameter.name != without]


def _with_signature(command: Command, parameters: Iterable[inspect.Parameter]) -> Command:
    """Set the parameters that typer reads as the options of a command."""
    signature = inspect.Signature([*parameters])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: part.annotation for name, part in signature.parameters.items()}
    return command


def _is_given(name: str, value: object) -> bool:
    """Return whether the user gave an option. Its default must not override the scenario file."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not ParameterSource.DEFAULT and value != []


def _option(name: str, field: FieldInfo, default: object) -> inspect.Parameter:
    """Return the option of a field. Pydantic validates its value."""
    is_share = any(isinstance(part, annotated_types.Le) and part.le == 1 for part in field.metadata)
    option = typer.Option(
        *_NAMES.get(name, ()),
        help=field_help(field.description or "", [field, field.annotation]),
        rich_help_panel=SCENARIO_PANEL,
        parser=parse_share if is_share else None,
        metavar="SHARE" if is_share else None,
    )
    return inspect.Parameter(
        name,
        _KEYWORD,
        default=None if default == () else default,
        annotation=Annotated[_plain(field.annotation) | None, option],
    )


def parse_share(text: str | float) -> float:
    """Parse a share, which is a number such as 0.2, or 20%."""
    number = str(text).strip()
    try:
        return float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected a share such as 0.2 or 20%.") from None


_NAMES = {"groups": ("--group",)}
"""Options with another name than their field. `--group` is repeated for each group."""


def _plain(annotation: Any) -> type:
    """Return the type that the command line parses for a field."""
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


_READERS: dict[str, Callable[[str], str]] = {"attacks": read_attack, "strategies": read_aggregation}


def parse_specs(option: Literal["attacks", "strategies"], text: str) -> list[str]:
    """Split a list of specs at its commas outside parentheses.

    Of several equivalent specs, keep the first.

    >>> parse_specs("attacks", "alie, label-flip(source=1, target=7), alie()")
    ['alie', 'label-flip(source=1, target=7)']

    Raises:
        ScenarioError: the list is empty, or a name in it is unknown.
    """
    items = split_outside(text, ",")
    if not items:
        raise ScenarioError(f"--{option}: got nothing, expected names separated by commas.")
    unique: dict[str, str] = {}
    for item in items:
        if re.fullmatch(r"[\w-]+(\s+[\w-]+)+", item):
            commas = ",".join(item.split())
            raise ScenarioError(f"--{option}: got {item!r}, expected names separated by commas: {commas}.")
        unique.setdefault(_READERS[option](item), item)
    return list(unique.values())


def parse_seeds(text: str) -> list[int]:
    """Split a list of seeds at its commas, without duplicates.

    Raises:
        ScenarioError: a seed is not a whole number.
    """
    return list(dict.fromkeys(parse_numbers("seeds", text, int)))


def parse_numbers(option: str, text: str, kind: type[Number]) -> list[Number]:
    """Split a list of numbers at its commas.

    Raises:
        ScenarioError: an item is not a number of this kind.
    """
    words = "whole numbers" if kind is int else "numbers"
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ScenarioError(f"--{option}: got {text!r}, expected {words} separated by commas.") from None


def format_seeds(seeds: Collection[int]) -> str:
    """Return seeds in words.

    >>> format_seeds([0, 1]), format_seeds([7])
    ('seeds 0, 1', 'seed 7')
    """
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"

"""The commands of `fedpoison`. Each module, and with it torch, is imported when its command runs."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import click
import typer
from typer.core import TyperCommand, TyperGroup

from fedpoison import __version__
from fedpoison.cli.completion import completing_command
from fedpoison.cli.help import HelpCommand
from fedpoison.errors import unknown

COMMANDS = {
    "run": "Run one scenario, and evaluate the global model per class after every round.",
    "compare": "Run every attack against every strategy on the same seeds, print tables, and save figures.",
    "breakdown": "Find the smallest malicious share that breaks each strategy.",
    "sweep": "Run the missing scenarios of a study, print a table, and save the results and a figure.",
    "baseline": "Train a centralized model on clean data, and with --attack another one on poisoned data.",
    "search": "Find the attack and the parameters that harm a strategy most.",
    "audit": "Measure the worst case of a strategy with a fixed protocol of tuned attacks.",
    "leaderboard": "Show the audits of all strategies, add a card to them, or write their pages.",
    "recommend": "Find the strategies with the best worst case for a number of clients and attackers.",
    "tune": "Choose the parameters of a strategy that are best under the worst of some attacks.",
    "report": "Write one HTML file about stored runs. A browser opens the file without a network.",
    "reproduce": "Repeat published experiments, and compare our numbers with the published ones.",
    "replay": "Aggregate the updates of one round with other strategies, without any training.",
    "prune": "Remove the neurons of a run's model that clean data do not use, and train it on these data.",
    "new": "Write a file with a rule or an attack of your own, and its test.",
    "list": "List available attacks, strategies, data sets, models, partitions or built-in studies.",
    "doctor": "Check installation, data sets and hardware. If a check fails, the exit code is 1.",
}
"""Each command with the first line of its help. The module `fedpoison.cli.NAME` has `NAME_command`."""
_SETTINGS = {"help_option_names": ["-h", "--help"]}


def load_command(name: str) -> click.Command:
    """Import the module of a command, and return the command."""
    function = getattr(import_module(f"fedpoison.cli.{name}"), f"{name}_command")
    paragraphs = [" ".join(paragraph.split()) for paragraph in (function.__doc__ or "").split("\n\n")]
    single = typer.Typer(add_completion=False, context_settings=_SETTINGS)
    single.command(name, cls=HelpCommand, help="\n\n".join(paragraphs))(function)
    return typer.main.get_command(single)


class LazyCommand(TyperCommand):
    """A command that is imported when it runs or prints its help, and not for completion."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        load = completing_command if extra.get("resilient_parsing") else load_command
        return load(str(self.name)).make_context(info_name, args, parent, **extra)


class CommandGroup(TyperGroup):
    """The commands. An unknown name is an error of fedpoison, which suggests one command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            raise unknown("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="fedpoison",
    cls=CommandGroup,
    help="Simulate model poisoning in federated learning, and measure defenses and damage per class.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
)


@app.callback(invoke_without_command=True)
def _options(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"fedpoison {__version__}")
        raise typer.Exit


for _name, _summary in COMMANDS.items():
    app.command(_name, cls=LazyCommand, help=_summary)(lambda: None)

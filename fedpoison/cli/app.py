"""The commands of `fedpoison`. Each module, and with it torch, is imported when its command runs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click
import typer
from typer.core import TyperCommand

COMMANDS = {
    "run": "fedpoison.cli.run:run_command",
    "compare": "fedpoison.cli.compare:compare_command",
    "breakdown": "fedpoison.cli.breakdown:breakdown_command",
    "sweep": "fedpoison.cli.sweep:sweep_command",
    "baseline": "fedpoison.cli.baseline:baseline_command",
    "search": "fedpoison.cli.search:search_command",
    "report": "fedpoison.cli.report:report_command",
    "reproduce": "fedpoison.cli.reproduce:reproduce_command",
    "replay": "fedpoison.cli.replay:replay_command",
    "list": "fedpoison.cli.list:list_command",
    "doctor": "fedpoison.cli.doctor:doctor_command",
}
"""Module and function of each command."""
SUMMARIES = {
    "run": "Run one scenario, and evaluate the global model per class after every round.",
    "compare": "Run every attack against every strategy on the same seeds, print tables and write figures.",
    "breakdown": "Find the smallest malicious share that breaks each strategy.",
    "sweep": "Run the missing scenarios of a study, print a table and save results and figure.",
    "baseline": "Train a central model on clean data, and with --attack on poisoned data, and compare both.",
    "search": "Search for the attack, and its parameters, that harms a strategy most.",
    "report": "Write one HTML file about stored runs, which a browser opens without a network.",
    "reproduce": "Repeat published experiments, and compare our numbers with the published ones.",
    "replay": "Aggregate the updates of one round with other strategies, without any training.",
    "list": "List available attacks, strategies, data sets, models, partitions or built-in studies.",
    "doctor": "Check installation, data sets and hardware. Exits with 1 if a check fails.",
}
"""First line of the help of each command."""


def load_command(name: str) -> click.Command:
    """Import the module of a command, and return the command."""
    module, _, function = COMMANDS[name].partition(":")
    single = typer.Typer(add_completion=False, context_settings=_SETTINGS)
    single.command(name)(getattr(import_module(module), function))
    return typer.main.get_command(single)


class LazyCommand(TyperCommand):
    """A command that is imported when it runs or prints its help."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return load_command(str(self.name)).make_context(info_name, args, parent, **extra)


_SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="fedpoison",
    help="Simulate model poisoning in federated learning, defend against it, and see the damage per class.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
)
for _name in COMMANDS:
    app.command(_name, cls=LazyCommand, help=SUMMARIES[_name])(lambda: None)

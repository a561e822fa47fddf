"""Pages that Sphinx generates from the code: the catalogue, the fields of a scenario, the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import click
from pydantic.fields import FieldInfo

from fedpoison.audits.effects import AttackEffect, attack_effects
from fedpoison.audits.leaderboard import Leaderboard
from fedpoison.cli.app import COMMANDS, load_command
from fedpoison.cli.catalogue import CatalogueEntry
from fedpoison.cli.describe import entries, format_type, format_value, markdown
from fedpoison.cli.options import SCENARIO_PANEL
from fedpoison.results.run_frame import percent
from fedpoison.scenario.scenario import Scenario


def catalogue_page(kind: str) -> str:
    """Return the documentation page of one kind: a table of all entries, and a section per entry.

    Raises:
        ScenarioError: the kind is unknown.
    """
    found = entries(kind)
    whole = [entry for entry in found if entry.text or entry.facts or entry.parameters]
    linked = {entry.name: f"[`{entry.name}`](#{entry.name})" for entry in whole}
    columns = [title for title in _COLUMNS if any(title in entry.facts for entry in found)]
    rows = [
        (linked.get(entry.name, f"`{entry.name}`"), entry.summary, *(entry.facts.get(c, "") for c in columns))
        for entry in found
    ]
    parts = [f"{len(found)} in all.", table(("name", "what it does", *columns), rows)]
    results = RESULTS[kind]() if kind in RESULTS else {}
    parts += [_entry_section(entry, results.get(entry.name, "")) for entry in whole]
    return "\n\n".join(parts) + "\n"


_COLUMNS = ("acts on", "needs", "paper")
"""Facts that are columns of the table at the top of a page."""


def scenario_fields() -> str:
    """Return a Markdown table of all fields of a scenario."""
    rows = [
        (f"`{name}`", format_type(info.annotation), _default(info), info.description or "")
        for name, info in Scenario.model_fields.items()
    ]
    return table(("field", "takes", "default", "meaning"), rows) + "\n"


def strategy_results() -> dict[str, str]:
    """Return the attacks that broke each strategy of the leaderboard, and those that it withstood."""
    found = {}
    for card in Leaderboard.load().cards:
        effects = attack_effects(card)
        if effects:
            basis = f"{card.protocol}, {percent(effects[0].share, 0)} % malicious"
            broke = [f"`{effect.attack}` ({effect.text})" for effect in effects if effect.broke]
            held = [
                "targeted " * (effect.threat == "targeted") + _short(" + ".join(effect.names), effect)
                for effect in effects
                if not effect.broke
            ]
            found[card.strategy] = _results(
                f'{basis}; `fedpoison audit --strategy "{card.strategy}"`',
                {"broken by": broke, "withstood": held},
            )
    return found


def attack_results() -> dict[str, str]:
    """Return the strategies that each attack broke, and the others, for the attack alone and with others."""
    board = Leaderboard.load()
    every = [effect for card in board.cards for effect in attack_effects(card)]
    found: dict[str, dict[tuple[str, str], list[AttackEffect]]] = {}
    for effect in sorted(every, key=lambda effect: -effect.harm):
        for name in effect.names:
            found.setdefault(name, {}).setdefault((" + ".join(effect.names), effect.threat), []).append(
                effect
            )
    return {
        name: "\n\n".join(_attack_results(*key, effects) for key, effects in combinations.items())
        for name, combinations in found.items()
    }


def _attack_results(names: str, threat: str, effects: Sequence[AttackEffect]) -> str:
    share = percent(effects[0].share, 0)
    return _results(
        f"`{names}`, {threat}, {share} % malicious; `python -m experiments.leaderboard`",
        {
            "broke": [f"`{effect.strategy}` ({effect.text})" for effect in effects if effect.broke],
            "did not break": [_short(effect.strategy, effect) for effect in effects if not effect.broke],
        },
    )


def _short(name: str, effect: AttackEffect) -> str:
    """Return a name, with the effect if it is more than a few points."""
    return f"`{name}` ({effect.text})" if effect.harm >= NOTABLE else f"`{name}`"


def _results(basis: str, lists: Mapping[str, Sequence[str]]) -> str:
    items = [f"- **{title}**: {', '.join(names)}" for title, names in lists.items() if names]
    return "\n".join([f"Measured ({basis}):\n", *items])


NOTABLE = 0.05
"""Lost accuracy, or success, from which an effect that broke nothing is shown."""
RESULTS: dict[str, Callable[[], dict[str, str]]] = {"strategies": strategy_results, "attacks": attack_results}
"""Results of the leaderboard by name of the entry, for the kinds that have them."""


def _entry_section(entry: CatalogueEntry, results: str) -> str:
    parts = [f"## `{entry.name}`", entry.summary, *entry.text]
    parts += ["\n".join(f"- **{title}**: {fact}" for title, fact in entry.facts.items())]
    if entry.parameters:
        rows = [
            (f"`{part.name}`", part.values, f"`{part.default}`", part.meaning) for part in entry.parameters
        ]
        parts.append(table(("parameter", "takes", "default", "meaning"), rows))
    if entry.example:
        parts.append(f"```pycon\n{entry.example}\n```")
    parts.append(results)
    return "\n\n".join(part for part in parts if part)


def _default(info: FieldInfo) -> str:
    return "unset" if info.default in (None, ()) else f"`{format_value(info.default)}`"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def command_page() -> str:
    """Return a section per command with its options. One sentence replaces the fields of a scenario."""
    sections = [part for name in COMMANDS for part in _command_section(name, load_command(name))]
    return "\n\n".join(sections) + "\n"


def _command_section(name: str, command: click.Command) -> Iterator[str]:
    yield f"## `fedpoison {name}`"
    pieces = command.collect_usage_pieces(click.Context(command))
    yield f"```\n{' '.join(['fedpoison', name, *pieces])}\n```"
    yield markdown("\n".join(line.strip() for line in (command.help or "").splitlines()))
    arguments = [part for part in command.params if isinstance(part, click.Argument)]
    if arguments:
        yield table(("argument", "meaning"), [_argument_row(argument) for argument in arguments])
    options = [part for part in command.params if isinstance(part, click.Option)]
    own = [part for part in options if getattr(part, "rich_help_panel", None) != SCENARIO_PANEL]
    if own:
        yield table(("option", "meaning", "default"), [_option_row(option) for option in own])
    if len(own) < len(options):
        yield "The [fields of a scenario](scenario.md) that this command uses are options, too."


def _argument_row(argument: click.Argument) -> tuple[str, str]:
    name = argument.make_metavar(click.Context(click.Command(None)))
    return f"`{name}`", markdown(getattr(argument, "help", None) or "")


def _option_row(option: click.Option) -> tuple[str, str, str]:
    shown = option.default not in (None, "") and not callable(option.default) and not option.is_flag
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    meaning = markdown(option.help or "")
    if isinstance(option.type, click.Choice):
        meaning += f" One of {', '.join(f'`{choice}`' for choice in option.type.choices)}."
    return names, meaning, f"`{option.default}`" if shown else ""

"""`fedpoison leaderboard`: show the leaderboard, add a card to it, or write its pages."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import click
import typer
from click.core import ParameterSource

from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_check import faults, find_protocol, load_setting
from fedpoison.audits.card_folder import BUILT_IN, difference, save_card
from fedpoison.audits.cell_check import CellCheck, run_again, sample
from fedpoison.audits.leaderboard import Leaderboard
from fedpoison.audits.leaderboard_files import as_json, write_board
from fedpoison.audits.leaderboard_tables import basis, board_tables
from fedpoison.cli.audit import text_table
from fedpoison.cli.options import BatchSettings, with_batch_settings
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.recommend import Cards
from fedpoison.errors import RunError, ScenarioError

CELLS = 5
"""Number of cells of a card that run again."""
DIFFERS = 1
"""Exit code if a cell of a card has other numbers on this machine."""
_BATCH = ("out", "fresh", "checkpoint_every", "jobs", "ray_address", "data_dir")
_ONLY = {
    "add": ("card", "cells", "seed", "tolerance", *_BATCH),
    "write": ("pages",),
}
"""Options that only one action has."""


@with_batch_settings
def leaderboard_command(
    *,
    action: Annotated[
        Literal["show", "add", "write"],
        typer.Argument(help="show: print the tables. add: check a card and add it. write: write the pages."),
    ] = "show",
    card: Annotated[Path | None, typer.Argument(help="For add: card.json of an audit.")] = None,
    cards: Cards = None,
    cells: Annotated[int, typer.Option(min=1, help="For add: number of cells that run again.")] = CELLS,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="For add: seed of the choice of the cells. Default: random, and printed."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="For add: largest difference of a number, as a share. 0: equal bits, as on one "
            "type of machine.",
        ),
    ] = 0.0,
    pages: Annotated[Path, typer.Option(help="For write: folder of the pages.")] = Path(),
    settings: BatchSettings,
) -> None:
    """Show the audits of all strategies, add a card to them, or write their pages.

    A card of another person is added if it is complete, its numbers at the top follow from its rows, and a
    sample of its cells has the same numbers on this machine.
    """
    _check_options(action)
    if action == "add":
        if card is None:
            raise ScenarioError("leaderboard add: got no card, expected the path of a card.json.")
        chosen = secrets.randbelow(10**9) if seed is None else seed
        _add(card, cards or BUILT_IN, settings, cells=cells, seed=chosen, tolerance=tolerance)
        return
    board = Leaderboard.load(cards)
    if action == "write":
        path = write_board(board, pages)
        settings.show(lambda: {**as_json(board), "path": str(path)}, list)
        settings.notes.print(f"leaderboard: {path}", markup=False)
        return
    settings.show(lambda: as_json(board), lambda: [text_table(table) for table in board_tables(board)])
    settings.notes.print(basis(board))
    settings.print_notes(f"{name} does not compare: {why}" for name, why in board.not_comparable.items())


def _check_options(action: str) -> None:
    """Raise a ScenarioError if the user gave an option that the action does not have."""
    context = click.get_current_context()
    for other, names in _ONLY.items():
        given = [name for name in names if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
        if other != action and given:
            shown = given[0].upper() if given[0] == "card" else f"--{given[0].replace('_', '-')}"
            raise ScenarioError(f"leaderboard {action}: got {shown}, which only leaderboard {other} has.")


def _add(
    path: Path, folder: Path, settings: BatchSettings, *, cells: int, seed: int, tolerance: float
) -> None:
    card = AuditCard.load(path)
    setting = load_setting(card, find_protocol(card), settings.data_dir)
    wrong = faults(card, setting)
    board = Leaderboard.load(folder) if folder.is_dir() else Leaderboard()
    if board.cards and (reason := difference(card, board.cards[0])):
        wrong.append(f"{reason}, as the cards in {folder} have")
    if wrong:
        raise RunError(f"{path}: {'; '.join(wrong)}.")
    chosen = sample(card, cells, seed)
    with BatchProgress(0, setting.base.rounds) as progress:
        checks = run_again(
            card,
            setting,
            chosen,
            tolerance=tolerance,
            on_planned=progress.add_runs,
            **settings.options(progress),
        )
    differing = [check for check in checks if check.differences]
    saved = None if differing else save_card(card, folder)
    settings.show(lambda: _as_json(card, seed, checks, saved), list)
    settings.print_notes(check.text for check in checks)
    settings.notes.print(
        f"cells: {len(checks)} of {len(card.attacked) + len(card.clean)}, chosen with seed {seed}"
    )
    if differing:
        settings.notes.print(
            f"not added: {len(differing)} of {len(checks)} cells have other numbers here. Small differences "
            "can come from another type of machine: see --tolerance",
            style="bold yellow",
        )
        raise typer.Exit(DIFFERS)
    settings.notes.print(f"added: {saved}", markup=False)


def _as_json(
    card: AuditCard, seed: int, checks: Sequence[CellCheck], saved: Path | None
) -> dict[str, object]:
    return {
        "strategy": card.strategy,
        "digest": card.digest,
        "seed": seed,
        "cells": [
            {
                "cell": check.cell,
                "differences": {
                    name: {"card": theirs, "here": here} for name, (theirs, here) in check.differences.items()
                },
            }
            for check in checks
        ],
        "added": None if saved is None else str(saved),
    }

"""`fedpoison reproduce`: compare published numbers with ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from fedpoison.cli.options import BatchSettings, format_seeds, parse_seeds, with_batch_settings
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import TextTable
from fedpoison.errors import unknown
from fedpoison.results.metrics import json_number
from fedpoison.results.run_frame import format_spread, percent

if TYPE_CHECKING:
    from fedpoison.studies.reproduce import CellResult, Publication, PublishedValue

NAMES = ("bucketing", "byzfl-heatmap", "byzfl-quickstart")
"""Names of the studies. The help uses this copy, because their hundreds of scenarios load slowly."""


@with_batch_settings
def reproduce_command(
    *,
    name: Annotated[str, typer.Argument(metavar="STUDY", help=f"Study: one of {', '.join(NAMES)}.")],
    cell: Annotated[
        list[str] | None,
        typer.Option(help="Name of a cell, or a pattern such as '*/krum/*'. Repeatable. Default: all cells."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, separated by commas. Default: the seeds of the study.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of rounds of a short trial without a verdict. Default: the full study."
        ),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="List the cells and the published numbers without running them.")
    ] = False,
    settings: BatchSettings,
) -> None:
    """Repeat published experiments, and compare our numbers with the published ones.

    A number is reproduced if ours differs by at most two published standard deviations plus one point.
    """
    from fedpoison.studies.reproduce import STUDIES, reproduce  # noqa: PLC0415  # see NAMES

    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    study = STUDIES[name]
    cells = study.pick(cell or [])
    if listing:
        listed = {"study": study.name, "cells": [_cell_json(one) for one in cells]}
        settings.show(lambda: listed, lambda: [_published(study, cells)])
        return
    numbers = parse_seeds(seeds) if seeds is not None else list(study.seeds)
    changes = {} if rounds is None else {"rounds": rounds}
    runs = len({(made, seed) for one in cells for made in one.scenarios for seed in numbers})
    longest = rounds or max(made.rounds for one in cells for made in one.scenarios)
    with BatchProgress(runs, longest) as progress:
        results = reproduce(cells, numbers, changes=changes, **settings.options(progress))
    settings.show(
        lambda: _as_json(study, results, numbers, rounds),
        lambda: [_compared(study, results, numbers, cut=rounds is not None)],
    )
    settings.print_notes(f"{result.cell.name}: {note}" for result in results for note in result.defects.notes)
    reproduced = sum(result.matches for result in results)
    if rounds:
        settings.notes.print(f"stopped after {rounds} rounds: no verdict")
    else:
        settings.notes.print(f"{reproduced} of {len(results)} reproduced, {format_seeds(numbers)}")
    for remark in study.remarks:
        settings.notes.print(f"- {remark}")
    settings.notes.print(f"runs: {settings.out}", markup=False)


def _published(study: Publication, cells: Sequence[PublishedValue]) -> TextTable:
    rows = [
        {
            "cell": cell.name,
            "attack": ", ".join(made.attack for made in cell.scenarios),
            "strategy": cell.scenarios[0].strategy,
            "published, %": format_spread(cell.published, cell.deviation, 2),
        }
        for cell in cells
    ]
    return TextTable(study.title, pd.DataFrame(rows), labels=3)


def _compared(
    study: Publication, results: Sequence[CellResult], seeds: Sequence[int], *, cut: bool
) -> TextTable:
    rows = []
    for result in results:
        verdict = "yes" if result.matches else f"no{': ' if result.failure else ''}{result.failure}"
        rows.append(
            {
                "cell": result.cell.name,
                "ours, %": result.defects.marked(
                    format_spread(result.mean, result.deviation if len(seeds) > 1 else None, 2)
                ),
                "theirs, %": format_spread(result.cell.published, result.cell.deviation, 2),
                "difference": "-" if result.difference is None else f"{100 * result.difference:+.1f}",
                "allowed": percent(result.cell.margin),
                "reproduced": "cut short" if cut else verdict,
            }
        )
    return TextTable(study.title, pd.DataFrame(rows), words=["reproduced"])


def _as_json(
    study: Publication, results: Sequence[CellResult], seeds: Sequence[int], rounds: int | None
) -> dict[str, object]:
    """Return the cells as plain values. If `rounds` shortens the study, no cell has a verdict."""
    return {
        "study": study.name,
        "seeds": list(seeds),
        "rounds": rounds,
        "cells": [
            _cell_json(result.cell)
            | {
                "ours": result.mean,
                "deviation": json_number(result.deviation),
                "reproduced": result.matches if rounds is None else None,
                "failure": result.failure or None,
                **result.defects.as_json(),
            }
            for result in results
        ],
    }


def _cell_json(cell: PublishedValue) -> dict[str, object]:
    return {
        "cell": cell.name,
        "published": cell.published,
        "published_deviation": cell.deviation,
        "allowed": cell.margin,
    }

"""`fedpoison reproduce`: published numbers, ours beside theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer
from rich.console import Console

from fedpoison.cli.lists import seeds_in
from fedpoison.cli.options import Data, Fresh, Jobs, Out, RayAddress
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.sheets import Form, Sheet, show, spread
from fedpoison.cli.tables import percent
from fedpoison.errors import unknown

if TYPE_CHECKING:
    from fedpoison.reproduction import CellResult, Publication, PublishedValue

NAMES = ("bucketing", "byzfl-heatmap", "byzfl-quickstart")
"""The studies, whose hundreds of scenarios take seconds to check: no other command has to wait for them."""


def reproduce(
    *,
    name: Annotated[str, typer.Argument(metavar="STUDY", help=f"One of {', '.join(NAMES)}.")],
    cell: Annotated[
        list[str] | None,
        typer.Option(help="A cell, or a pattern such as '*/krum/*'; give it several times. All if unset."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, separated by commas; the study's own if unset.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many rounds: a trial, without a verdict.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show the cells and what was published.")] = False,
    form: Form = "terminal",
    out: Out = Path("runs"),
    fresh: Fresh = False,
    jobs: Jobs = None,
    ray_address: RayAddress = None,
    data_dir: Data = None,
) -> None:
    """Run the settings behind published numbers, and print ours beside theirs with a verdict.

    A number is reproduced if ours lies inside two published standard deviations plus one point.
    """
    from fedpoison.reproduction import STUDIES  # noqa: PLC0415  # see NAMES
    from fedpoison.reproduction import reproduce as reproduce_cells  # noqa: PLC0415

    if name not in STUDIES:
        raise unknown("study", name, STUDIES)
    study = STUDIES[name]
    cells = study.pick(cell or [])
    if listing:
        show([_published(study, cells)], form)
        return
    numbers = seeds_in(seeds) if seeds is not None else list(study.seeds)
    changes = {} if rounds is None else {"rounds": rounds}
    runs = len({(made, seed) for one in cells for made in one.scenarios for seed in numbers})
    longest = rounds or max(made.rounds for one in cells for made in one.scenarios)
    with BatchProgress(runs, longest) as progress:
        outcomes = reproduce_cells(
            cells,
            numbers,
            out=out,
            changes=changes,
            jobs=jobs,
            ray_address=ray_address,
            fresh=fresh,
            data_dir=data_dir,
            watch=progress.watch(),
            notify=progress.warn,
        )
    show([_compared(study, outcomes, numbers, cut=rounds is not None)], form)
    console = Console(stderr=form != "terminal")
    reproduced = sum(outcome.matches for outcome in outcomes)
    if rounds:
        console.print(f"stopped after {rounds} rounds: these are no reproductions")
    else:
        console.print(f"{reproduced} of {len(outcomes)} reproduced, seeds {', '.join(map(str, numbers))}")
    for remark in study.remarks:
        console.print(f"- {remark}")


def _published(study: Publication, cells: Sequence[PublishedValue]) -> Sheet:
    rows = [
        {
            "cell": cell.name,
            "attack": ", ".join(made.attack for made in cell.scenarios),
            "strategy": cell.scenarios[0].strategy,
            "published, %": spread(cell.published, cell.deviation, 2),
        }
        for cell in cells
    ]
    return Sheet(study.title, pd.DataFrame(rows), labels=3)


def _compared(
    study: Publication, outcomes: Sequence[CellResult], seeds: Sequence[int], *, cut: bool
) -> Sheet:
    rows = []
    for outcome in outcomes:
        verdict = "yes" if outcome.matches else f"no{': ' if outcome.failure else ''}{outcome.failure}"
        rows.append(
            {
                "cell": outcome.cell.name,
                "ours, %": spread(outcome.mean, outcome.deviation if len(seeds) > 1 else None, 2),
                "theirs, %": spread(outcome.cell.published, outcome.cell.deviation, 2),
                "difference": "-" if outcome.difference is None else f"{100 * outcome.difference:+.1f}",
                "allowed": percent(outcome.cell.margin),
                "reproduced": "cut short" if cut else verdict,
            }
        )
    return Sheet(study.title, pd.DataFrame(rows), words=["reproduced"])

"""`fedpoison breakdown`: the smallest malicious share that breaks a strategy."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

import pandas as pd
import typer

from fedpoison.cli.options import (
    STRATEGIES,
    Attacks,
    BatchSettings,
    Strategies,
    parse_numbers,
    parse_seeds,
    parse_specs,
    with_batch_settings,
    with_scenario,
)
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import TextTable
from fedpoison.errors import file_errors
from fedpoison.results.defects import Defects
from fedpoison.results.metrics import json_number
from fedpoison.results.run_frame import estimate, format_interval, percent
from fedpoison.results.store import content_name
from fedpoison.scenario.fields import About, fields_about
from fedpoison.scenario.scenario import Scenario
from fedpoison.studies.breakdown_point import SHARES, breakdown
from fedpoison.studies.breakdown_result import Breakdown, Curve, Point, criterion


@with_scenario(without=("attack", "strategy", "seed", *fields_about(Scenario, About.MALICIOUS)))
@with_batch_settings
def breakdown_command(
    *,
    scenario: Scenario,
    attacks: Attacks = "scaled-update",
    strategies: Strategies = STRATEGIES,
    measure: Annotated[
        Literal["accuracy", "worst-class", "success"],
        typer.Option(help="Measure of damage: accuracy, accuracy of the worst class, or attack success."),
    ] = "accuracy",
    points: Annotated[
        float | None,
        typer.Option(
            help="Loss of accuracy that counts as broken, in percentage points compared with the run "
            "without attackers. Default: 10."
        ),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(help="Attack success that counts as broken, in per cent. Default: 50."),
    ] = None,
    shares: Annotated[
        str,
        typer.Option(
            help="Malicious shares to test first, separated by commas. The largest share ends the search."
        ),
    ] = ",".join(map(str, SHARES)),
    seeds: Annotated[
        str, typer.Option(help="Seeds, separated by commas. The mean over the seeds decides.")
    ] = "0",
    figure: Annotated[Literal["png", "svg", "pdf"], typer.Option(help="Format of the figure.")] = "png",
    settings: BatchSettings,
) -> None:
    """Find the smallest malicious share that breaks each strategy.

    The command prints a table, and writes a figure and its points. Each strategy is configured for the true
    number of malicious clients, unless --tolerated or a parameter of the strategy sets another number.
    """
    names, rules = parse_specs("attacks", attacks), parse_specs("strategies", strategies)
    numbers, grid = parse_seeds(seeds), parse_numbers("shares", shares, float)
    chosen = criterion(measure, points=points, level=level)
    with BatchProgress(0, scenario.rounds) as progress:
        found = breakdown(
            scenario,
            names,
            rules,
            criterion=chosen,
            shares=grid,
            seeds=numbers,
            on_planned=progress.add_runs,
            **settings.options(progress),
        )
    folder = settings.out / content_name("breakdown", scenario.run_id, names, rules, numbers, grid, chosen)
    settings.show(lambda: as_json(found) | {"path": str(folder)}, lambda: [table(found)])
    settings.print_notes(notes(found))
    seeds_used = f"{len(numbers)} seeds" if len(numbers) > 1 else "1 seed"
    settings.notes.print(f"{scenario.clients} clients, after {scenario.rounds} rounds, {seeds_used}")
    with file_errors(folder):
        _write(found, folder, figure)
    settings.notes.print(f"figure and points: {folder}", markup=False)


def table(found: Breakdown) -> TextTable:
    """Return the table of breakdowns, with one row per attack and strategy."""
    rows = [
        {
            "attack": curve.pair.attack,
            "strategy": curve.pair.strategy,
            "clean": Defects.sum(curve.points[0].defects).marked(percent(fmean(curve.points[0].measured))),
            "breaks at": _breaks(curve, found.clients),
            **({"half of the seeds": _fitted(found, curve)} if len(found.seeds) > 1 else {}),
            "costs": _cost(curve.breaking_point),
            "undefined from": "-" if curve.undefined is None else f"{curve.undefined / found.clients:.1%}",
        }
        for curve in found.curves
    ]
    title = f"Smallest malicious share that {found.criterion.description}"
    return TextTable(title, pd.DataFrame(rows), labels=2)


def notes(found: Breakdown) -> list[str]:
    """Return remarks on single curves: defects of runs, curves that recover, and stops."""
    remarks = list(found.remarks)
    for curve in found.curves:
        name = f"{curve.pair.strategy} under {curve.pair.attack}"
        if curve.held_above and curve.breaking_point is not None:
            held = ", ".join(f"{count / found.clients:.1%}" for count in curve.held_above)
            remarks.append(
                f"{name}: larger shares are not always worse. The smallest tested share that breaks it is "
                f"{curve.breaking_point.count / found.clients:.1%}. It withstood {held}."
            )
        fitted = found.fitted(curve) if len(found.seeds) > 1 else None
        if fitted is not None and fitted.coverage_note:
            remarks.append(f"{name}: {fitted.coverage_note}.")
        if curve.breaking_point is not None and curve.breaking_point.stopped is not None:
            remarks.append(f"{name}: the server had to stop: {curve.breaking_point.stopped}")
    return remarks


def as_json(found: Breakdown) -> dict[str, object]:
    """Return the breakdowns as plain values, with None for missing numbers."""
    return {
        "measure": found.criterion.measure,
        "limit": found.criterion.limit,
        "clients": found.clients,
        "seeds": list(found.seeds),
        "curves": [_curve(found, curve) for curve in found.curves],
    }


def _curve(found: Breakdown, curve: Curve) -> dict[str, object]:
    def share(count: int | None) -> float | None:
        return None if count is None else count / found.clients

    fitted = found.fitted(curve)

    breaks_at = None if curve.breaking_point is None else curve.breaking_point.count
    return {
        "attack": curve.pair.attack,
        "strategy": curve.pair.strategy,
        "breaks_at": share(breaks_at),
        "breaks_at_count": breaks_at,
        "half_of_the_seeds": None if fitted is None else fitted.as_json(),
        "held_at": share(None if curve.last_held is None else curve.last_held.count),
        "held_above": [share(count) for count in curve.held_above],
        "undefined_from": share(curve.undefined),
        "undefined_because": curve.reason,
        "no_result": curve.no_result,
        "notes": curve.defects.notes,
        "points": [
            {
                "malicious": point.count,
                "share": share(point.count),
                "measured": [json_number(value) for value in point.measured],
                "costs": [json_number(cost) for cost in point.costs],
                "broke": point.broke,
                "stopped": point.stopped,
                "no_result": point.no_result,
                "notes": Defects.sum(point.defects).notes,
            }
            for point in curve.points
        ],
    }


def _breaks(curve: Curve, clients: int) -> str:
    if curve.no_result is not None:
        return "no result *"
    lost = " *" if curve.defects.notes else ""
    if curve.breaking_point is None:
        return f"none up to {curve.points[-1].count / clients:.1%}{lost}"
    marked = " *" if curve.held_above or curve.breaking_point.stopped else lost
    return f"{curve.breaking_point.count / clients:.1%}{marked}"


def _fitted(found: Breakdown, curve: Curve) -> str:
    fitted = found.fitted(curve)
    return "-" if fitted is None else fitted.text


def _cost(point: Point | None) -> str:
    if point is None:
        return "-"
    if point.stopped is not None:
        return "stops"
    found = estimate(point.costs)
    return format_interval(found.mean, found.low, found.high)


def _write(found: Breakdown, folder: Path, ending: str) -> None:
    from fedpoison.plotting import save  # noqa: PLC0415  # matplotlib, too
    from fedpoison.studies import figures  # noqa: PLC0415  # matplotlib takes a second to import

    folder.mkdir(parents=True, exist_ok=True)
    save(figures.breakdown_curves(found), folder / f"breakdown.{ending}")
    found.to_frame().to_csv(folder / "points.csv", index=False)

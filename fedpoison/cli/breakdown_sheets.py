"""The breakdowns of strategies as a table for people, and as one object for programs."""

from __future__ import annotations

import math
from statistics import fmean

import pandas as pd

from fedpoison.breakdown_result import Breakdown, Curve, Point
from fedpoison.cli.sheets import Sheet, interval
from fedpoison.cli.tables import percent
from fedpoison.intervals import estimate


def sheet(found: Breakdown) -> Sheet:
    """Return the table: one row an attack and strategy."""
    rows = [
        {
            "attack": curve.pair.attack,
            "strategy": curve.pair.strategy,
            "clean": percent(fmean(curve.points[0].measured)),
            "breaks at": _breaks(curve, found.clients),
            "costs": _cost(curve.breaks),
            "undefined from": "-" if curve.undefined is None else f"{curve.undefined / found.clients:.1%}",
        }
        for curve in found.curves
    ]
    return Sheet(f"Smallest malicious share that {found.judge.words}", pd.DataFrame(rows), labels=2)


def remarks(found: Breakdown) -> list[str]:
    """Return what a reader of the table must know of single curves."""
    made = []
    for curve in found.curves:
        name = f"{curve.pair.strategy} under {curve.pair.attack}"
        if curve.held_above and curve.breaks is not None:
            held = ", ".join(f"{count / found.clients:.1%}" for count in curve.held_above)
            made.append(
                f"{name}: more is not always worse; {curve.breaks.count / found.clients:.1%} is the smallest "
                f"share seen that breaks it, and {held} held."
            )
        if curve.breaks is not None and curve.breaks.stopped is not None:
            made.append(f"{name}: the server had to stop: {curve.breaks.stopped}")
    return made


def as_json(found: Breakdown) -> dict[str, object]:
    """Return the breakdowns as plain values; what is not a number is null."""
    return {
        "measure": found.judge.measure,
        "limit": found.judge.limit,
        "clients": found.clients,
        "seeds": list(found.seeds),
        "curves": [_curve(curve, found.clients) for curve in found.curves],
    }


def _curve(curve: Curve, clients: int) -> dict[str, object]:
    def share(count: int | None) -> float | None:
        return None if count is None else count / clients

    return {
        "attack": curve.pair.attack,
        "strategy": curve.pair.strategy,
        "breaks_at": None if curve.breaks is None else share(curve.breaks.count),
        "breaks_at_count": None if curve.breaks is None else curve.breaks.count,
        "held_at": None if curve.held is None else share(curve.held.count),
        "held_above": [share(count) for count in curve.held_above],
        "undefined_from": share(curve.undefined),
        "undefined_because": curve.reason,
        "points": [
            {
                "malicious": point.count,
                "share": share(point.count),
                "measured": [None if math.isnan(value) else value for value in point.measured],
                "costs": [None if math.isnan(cost) else cost for cost in point.costs],
                "broke": point.broke,
                "stopped": point.stopped,
            }
            for point in curve.points
        ],
    }


def _breaks(curve: Curve, clients: int) -> str:
    if curve.breaks is None:
        return f"none up to {curve.points[-1].count / clients:.1%}"
    marked = " *" if curve.held_above or curve.breaks.stopped else ""
    return f"{curve.breaks.count / clients:.1%}{marked}"


def _cost(point: Point | None) -> str:
    if point is None:
        return "-"
    if point.stopped is not None:
        return "stops"
    found = estimate(point.costs)
    return interval(found.mean, found.low, found.high)

"""A comparison as tables for people, and as one object for programs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fedpoison.cli.sheets import Sheet, interval
from fedpoison.cli.tables import percent
from fedpoison.comparison import MEASURES, Comparison
from fedpoison.contrasts import differences, estimates, steadiest, weakest


def sheets(found: Comparison, reference: str | None) -> list[Sheet]:
    """Return the tables of a comparison: measures, paired differences, weak points, accuracy by class.

    The differences are left out with a single seed, unless a reference is asked for.
    """
    tables = _by_measure(found, estimates(found), "{}, %", signed=False)
    if len(found.strategies) > 1 and (reference is not None or len(found.seeds) > 1):
        chosen = steadiest(found) if reference is None else reference
        title = f"{{}}: points more than {chosen}, paired over the seeds"
        tables += _by_measure(found, differences(found, chosen), title, signed=True)
    tables.append(_weak_points(found))
    tables += [_classes(found, attack) for attack in found.attacks]
    return tables


def as_json(found: Comparison, reference: str | None, folder: Path) -> dict[str, object]:
    """Return a comparison as plain values; what is not a number is null."""
    reference = steadiest(found) if reference is None else reference
    return {
        "attacks": list(found.attacks),
        "strategies": list(found.strategies),
        "seeds": list(found.seeds),
        "at": found.at,
        "reference": reference,
        "estimates": _records(estimates(found)),
        "differences": _records(differences(found, reference)),
        "weakest": _records(weakest(found).reset_index()),
        "per_class_accuracy": {
            attack: {
                strategy: [None if pd.isna(value) else value for value in row.tolist()]
                for strategy, row in found.classes(attack).iterrows()
            }
            for attack in found.attacks
        },
        "path": str(folder),
    }


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def _by_measure(found: Comparison, rows: pd.DataFrame, title: str, *, signed: bool) -> list[Sheet]:
    """Return one table a measure that has values, attacks by strategies."""
    made = []
    for name in MEASURES:
        some = rows[(rows["measure"] == name) & rows["mean"].notna()]
        if some.empty:
            continue
        texts = {
            (row["attack"], row["strategy"]): interval(row["mean"], row["low"], row["high"], signed=signed)
            for _, row in some.iterrows()
        }
        strategies = [strategy for strategy in found.strategies if strategy in set(some["strategy"])]
        cells = [
            [attack, *(texts.get((attack, strategy), "-") for strategy in strategies)]
            for attack in found.attacks
        ]
        frame = pd.DataFrame(cells, columns=["attack", *strategies])
        made.append(Sheet(title.format(name.capitalize()), frame))
    return made


def _weak_points(found: Comparison) -> Sheet:
    rows = [
        {
            "strategy": str(strategy),
            "lowest accuracy": f"{percent(row['accuracy'])} under {row['under']}",
            "worst class": f"{row['class']}: {percent(row['class_accuracy'])} under {row['class_under']}",
            "highest success": "-"
            if pd.isna(row["success"])
            else f"{percent(row['success'])} of {row['success_of']}",
        }
        for strategy, row in weakest(found).iterrows()
    ]
    return Sheet("Where each strategy is weakest, %", pd.DataFrame(rows))


def _classes(found: Comparison, attack: str) -> Sheet:
    frame = found.classes(attack)
    cells = frame.map(lambda value: percent(value, 0)).rename(columns=str).reset_index()
    return Sheet(f"{attack}: accuracy by class, %", cells)

"""A comparison as tables for people, and as one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fedpoison.attackers import first_goal
from fedpoison.cli.lists import spell_seeds
from fedpoison.cli.sheets import Sheet, interval, records
from fedpoison.cli.tables import percent
from fedpoison.comparison import Comparison
from fedpoison.run_frame import MEASURES


def sheets(found: Comparison, reference: str | None) -> list[Sheet]:
    """Return the tables of a comparison: measures, paired differences, weak points, accuracy by class.

    The differences are left out with a single seed, unless a reference is asked for.
    """
    tables = _by_measure(found, found.estimates(), found.strategies, "{}, %")
    if len(found.strategies) > 1 and (reference is not None or len(found.seeds) > 1):
        chosen = found.most_robust() if reference is None else reference
        title = f"{{}}: points more than the reference {chosen}, paired over the seeds"
        others = [strategy for strategy in found.strategies if strategy != chosen]
        tables += _by_measure(found, found.differences(chosen), others, title, reference=chosen)
    tables.append(_weak_points(found))
    tables += [_classes(found, attack) for attack in found.attacks]
    return tables


def remarks(found: Comparison) -> list[str]:
    """Return why cells of the tables hold no number."""
    made = []
    alike = found.stopped_runs().groupby(["attack", "strategy", "reason"], sort=False)
    for (attack, strategy, reason), runs in alike:
        seeds = spell_seeds(runs["seed"])
        made.append(f"{strategy} under {attack}: the server had to stop with {seeds}: {reason}")
    return made


def as_json(found: Comparison, reference: str | None, folder: Path) -> dict[str, object]:
    """Return a comparison as plain values; what is not a number is null."""
    reference = found.most_robust() if reference is None else reference
    return {
        "attacks": list(found.attacks),
        "strategies": list(found.strategies),
        "seeds": list(found.seeds),
        "at": found.at,
        "reference": reference,
        "estimates": records(found.estimates()),
        "differences": records(found.differences(reference)),
        "weakest": records(found.worst_case().reset_index()),
        "per_class_accuracy": {
            attack: {
                strategy: [None if pd.isna(value) else value for value in row.tolist()]
                for strategy, row in found.classes(attack).iterrows()
            }
            for attack in found.attacks
        },
        "stopped": records(found.stopped_runs()),
        "path": str(folder),
    }


def _by_measure(
    found: Comparison,
    rows: pd.DataFrame,
    strategies: Sequence[str],
    title: str,
    *,
    reference: str | None = None,
) -> list[Sheet]:
    """Return one table a measure that has values, attacks by strategies; differences from a reference."""
    made = []
    for name, measure in MEASURES.items():
        values = [found.values(measure, attack, rule) for attack in found.attacks for rule in strategies]
        if pd.isna(values).all():
            continue
        some = rows[(rows["measure"] == name) & rows["mean"].notna()]
        signed = reference is not None
        texts = {
            (row["attack"], row["strategy"]): interval(row["mean"], row["low"], row["high"], signed=signed)
            for _, row in some.iterrows()
        }
        cells = []
        for attack in found.attacks:
            measured = measure != "success" or _targeted(found, attack)
            gaps = [_gap(found, attack, rule, reference) if measured else "-" for rule in strategies]
            told = [texts.get((attack, rule), gap) for rule, gap in zip(strategies, gaps, strict=True)]
            cells.append([attack, *told])
        frame = pd.DataFrame(cells, columns=["attack", *strategies])
        made.append(Sheet(title.format(name.capitalize()), frame))
    return made


def _targeted(found: Comparison, attack: str) -> bool:
    """Return whether the success of an attack is measured; what stopped has no record that would tell."""
    scenario = next(iter(found.histories.values())).scenario
    return scenario.goal is not None or first_goal([attack], found.labels) is not None


def _gap(found: Comparison, attack: str, strategy: str, reference: str | None) -> str:
    """Return what stands where there is no mean, or no difference from a reference."""
    stops = len(found.stops(attack, strategy))
    if stops:
        return "stopped" if stops == len(found.seeds) else f"{stops} of {len(found.seeds)} stopped"
    if reference is not None and found.stops(attack, reference):
        return "reference stopped"
    return "-"


def _weak_points(found: Comparison) -> Sheet:
    rows = [
        {
            "strategy": str(strategy),
            "lowest accuracy": f"{_lowest(row['accuracy'])} under {row['under']}",
            "worst class": "-"
            if pd.isna(row["class"])
            else f"{row['class']}: {percent(row['class_accuracy'])} under {row['class_under']}",
            "highest success": "-"
            if pd.isna(row["success"])
            else f"{percent(row['success'])} of {row['success_of']}",
        }
        for strategy, row in found.worst_case().iterrows()
    ]
    frame = pd.DataFrame(rows)
    return Sheet("Where each strategy is weakest, %", frame, words=list(frame.columns[1:]))


def _lowest(accuracy: float) -> str:
    return "stopped" if pd.isna(accuracy) else percent(accuracy)


def _classes(found: Comparison, attack: str) -> Sheet:
    frame = found.classes(attack)
    cells = frame.map(lambda value: percent(value, 0)).rename(columns=str).reset_index()
    return Sheet(f"{attack}: accuracy by class, %", cells)

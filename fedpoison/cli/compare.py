"""`fedpoison compare`: attacks against strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from fedpoison.cli.options import (
    STRATEGIES,
    Attacks,
    BatchSettings,
    Strategies,
    format_seeds,
    parse_seeds,
    parse_specs,
    with_batch_settings,
    with_scenario,
)
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import TextTable
from fedpoison.errors import file_errors
from fedpoison.results.defects import Defects
from fedpoison.results.run_frame import MEASURES, coverage_note, format_interval, percent, to_records
from fedpoison.results.store import content_name, file_name
from fedpoison.scenario.attackers import first_goal
from fedpoison.scenario.scenario import Scenario
from fedpoison.studies.comparison import At, Comparison, check_reference, compare


@with_scenario(without=("attack", "groups", "strategy", "seed"))
@with_batch_settings
def compare_command(
    *,
    scenario: Scenario,
    attacks: Attacks = "none,label-flip,scaled-update",
    strategies: Strategies = STRATEGIES,
    seeds: Annotated[
        str,
        typer.Option(
            help="Seeds, separated by commas. Each pair of attack and strategy runs with each seed."
        ),
    ] = "0",
    reference: Annotated[
        str | None,
        typer.Option(
            help="Reference strategy for paired differences. Default: the strategy with the best worst-case "
            "accuracy."
        ),
    ] = None,
    at: Annotated[
        At,
        typer.Option(
            help="Round of each run that counts: the last or the best. The best overrates every strategy."
        ),
    ] = "last",
    settings: BatchSettings,
) -> None:
    """Run every attack against every strategy on the same seeds, print tables, and save figures."""
    names, rules = parse_specs("attacks", attacks), parse_specs("strategies", strategies)
    numbers = parse_seeds(seeds)
    if reference is not None:
        reference = check_reference(rules, reference)
    with BatchProgress(len(names) * len(rules) * len(numbers), scenario.rounds) as progress:
        found = compare(scenario, names, rules, seeds=numbers, at=at, **settings.options(progress))
    folder = settings.out / content_name("compare", scenario.run_id, names, rules, numbers, reference, at)
    settings.show(lambda: as_json(found, reference, folder), lambda: tables(found, reference))
    settings.print_notes(notes(found))
    settings.notes.print(_setting(found))
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write(found, reference, folder)
        _draw(found, folder)
    settings.notes.print(f"figures and tables: {folder}", markup=False)


def tables(found: Comparison, reference: str | None) -> list[TextTable]:
    """Return the tables of a comparison: measures, paired differences, worst cases, accuracy by class.

    With a single seed, there are no differences, unless the user chose a reference.
    """
    made = _by_measure(found, found.estimates(), found.strategies, "{}, %")
    if len(found.strategies) > 1 and (reference is not None or len(found.seeds) > 1):
        chosen = found.most_robust() if reference is None else reference
        title = f"{{}}: difference from the reference {chosen} in percentage points, paired over the seeds"
        others = [strategy for strategy in found.strategies if strategy != chosen]
        made += _by_measure(found, found.differences(chosen), others, title, reference=chosen)
    return [*made, _worst_cases(found), *(_classes(found, attack) for attack in found.attacks)]


def notes(found: Comparison) -> list[str]:
    """Return the reasons why cells of the tables contain no number, and the defects of the others."""
    alike = found.stopped_runs().groupby(["attack", "strategy", "reason"], sort=False)
    return [
        f"{strategy} under {attack}: the server had to stop with {format_seeds(runs['seed'])}: {reason}"
        for (attack, strategy, reason), runs in alike
    ] + found.remarks


def as_json(found: Comparison, reference: str | None, folder: Path) -> dict[str, object]:
    """Return a comparison as plain values, with None for missing numbers."""
    reference = found.most_robust() if reference is None else reference
    return {
        "attacks": list(found.attacks),
        "strategies": list(found.strategies),
        "seeds": list(found.seeds),
        "at": found.at,
        "reference": reference,
        "estimates": to_records(found.estimates()),
        "differences": to_records(found.differences(reference)),
        "weakest": to_records(found.worst_case().reset_index()),
        "per_class_accuracy": {
            attack: {
                strategy: [None if pd.isna(value) else value for value in row.tolist()]
                for strategy, row in found.classes(attack).iterrows()
            }
            for attack in found.attacks
        },
        "stopped": to_records(found.stopped_runs()),
        "notes": run_notes(found),
        "path": str(folder),
    }


def run_notes(found: Comparison) -> list[dict[str, object]]:
    """Return one entry per run with notes: its attack, strategy and seed, and its defects."""
    return [
        {**asdict(cell), **history.defects.as_json()}
        for cell, history in found.histories.items()
        if history.notes
    ]


def _by_measure(
    found: Comparison,
    rows: pd.DataFrame,
    strategies: Sequence[str],
    title: str,
    *,
    reference: str | None = None,
) -> list[TextTable]:
    """Return one table per measure with values: attacks by strategies, or differences from a reference."""
    made = []
    signed = reference is not None
    for name, measure in MEASURES.items():
        values = [found.values(measure, attack, rule) for attack in found.attacks for rule in strategies]
        if pd.isna(values).all():
            continue
        some = rows[(rows["measure"] == name) & rows["mean"].notna()].set_index(["attack", "strategy"])
        texts = {
            pair: format_interval(row["mean"], row["low"], row["high"], signed=signed)
            for pair, row in some.iterrows()
        }
        cells = []
        for attack in found.attacks:
            measured = measure != "success" or _targeted(found, attack)
            gaps = [_gap(found, attack, rule, reference) if measured else "-" for rule in strategies]
            marked = [
                _marked(found, attack, rule, texts.get((attack, rule)), reference) for rule in strategies
            ]
            filled = [text or gap for text, gap in zip(marked, gaps, strict=True)]
            cells.append([attack, *filled])
        frame = pd.DataFrame(cells, columns=["attack", *strategies])
        made.append(TextTable(title.format(name.capitalize()), frame))
    return made


def _marked(
    found: Comparison, attack: str, strategy: str, text: str | None, reference: str | None
) -> str | None:
    """Return the text of a cell with the mark of its runs, and in a difference those of the reference."""
    others = [] if reference is None else [found.defects(attack, reference)]
    return None if text is None else Defects.sum([found.defects(attack, strategy), *others]).marked(text)


def _targeted(found: Comparison, attack: str) -> bool:
    """Return whether the success of an attack is measured, even if all of its runs stopped."""
    scenario = next(iter(found.histories.values())).scenario
    return scenario.goal is not None or first_goal([attack], found.labels) is not None


def _gap(found: Comparison, attack: str, strategy: str, reference: str | None) -> str:
    """Return the text of a cell without a mean, or without a difference from a reference."""
    stops = len(found.stopped_seeds(attack, strategy))
    if stops:
        return "stopped" if stops == len(found.seeds) else f"{stops} of {len(found.seeds)} stopped"
    if reference is not None and found.stopped_seeds(attack, reference):
        return "reference stopped"
    return "-"


def _worst_cases(found: Comparison) -> TextTable:
    def value(row: pd.Series[Any], measure: str, attack: str) -> str:
        return found.defects(str(row[attack]), str(row.name)).marked(percent(row[measure]))

    rows = [
        {
            "strategy": str(strategy),
            "lowest accuracy": ("stopped" if pd.isna(row["accuracy"]) else value(row, "accuracy", "under"))
            + f" under {row['under']}",
            "worst class": "-"
            if pd.isna(row["class"])
            else f"{found.class_labels[row['class']]}: {value(row, 'class_accuracy', 'class_under')} under "
            f"{row['class_under']}",
            "highest success": "-"
            if pd.isna(row["success"])
            else f"{value(row, 'success', 'success_of')} of {row['success_of']}",
        }
        for strategy, row in found.worst_case().iterrows()
    ]
    frame = pd.DataFrame(rows)
    return TextTable("Where each strategy is weakest, %", frame, words=list(frame.columns[1:]))


def _classes(found: Comparison, attack: str) -> TextTable:
    frame = found.classes(attack)
    cells = frame.map(lambda value: percent(value, 0)).set_axis(found.class_labels, axis=1).reset_index()
    cells["strategy"] = [found.defects(attack, strategy).marked_name(strategy) for strategy in frame.index]
    return TextTable(f"{attack}: accuracy by class, %", cells)


def _setting(found: Comparison) -> str:
    scenario = next(iter(found.histories.values())).scenario
    seeds = f"{len(found.seeds)} seeds, 95 % bootstrap intervals" if len(found.seeds) > 1 else "1 seed"
    few = coverage_note(len(found.seeds))
    moment = f"after {scenario.rounds} rounds" if found.at == "last" else "after the best round of each run"
    (group,) = scenario.attackers
    clients = f"{scenario.clients} clients, {group.size(scenario.clients)} malicious"
    return f"{scenario.dataset_title}, {clients}, {moment}, {seeds}" + (f" ({few})" if few else "")


def _draw(found: Comparison, folder: Path) -> None:
    from fedpoison.plotting import save  # noqa: PLC0415  # matplotlib, too
    from fedpoison.studies import figures  # noqa: PLC0415  # matplotlib takes a second to import

    drawn = {
        "accuracy-by-round": figures.accuracy_by_round(found),
        "attack-by-strategy": figures.attack_by_strategy(found),
    }
    for attack in found.attacks:
        drawn[file_name(f"classes-{attack}", drawn)] = figures.class_by_strategy(found, attack)
        for strategy in found.strategies:
            name = f"{attack}-{strategy}"
            for history in found.runs(attack, strategy)[:1]:
                drawn[file_name(f"rounds-{name}", drawn)] = history.plot()
                drawn[file_name(f"confusion-{name}", drawn)] = history.plot_confusion()
    for name, figure in drawn.items():
        save(figure, folder / f"{name}.png")


def _write(found: Comparison, reference: str | None, folder: Path) -> None:
    for name, measure in MEASURES.items():
        found.table(measure).to_csv(folder / f"{file_name(name)}.csv")
    found.per_class().to_csv(folder / "per-class.csv")
    found.estimates().to_csv(folder / "estimates.csv", index=False)
    found.differences(reference).to_csv(folder / "differences.csv", index=False)
    found.worst_case().to_csv(folder / "weakest.csv")
    found.stopped_runs().to_csv(folder / "stopped.csv", index=False)

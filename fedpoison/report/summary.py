"""Headline numbers and summary table of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedpoison.report.load import is_attack_free
from fedpoison.report.page_data import AXES, WITHOUT_RESULT, PageData, is_result
from fedpoison.report.table import Cell, Column, PageTable
from fedpoison.results.history import class_labels
from fedpoison.results.run_frame import (
    MEASURES,
    STOPPED,
    class_columns,
    cross_table,
    format_spread,
    lowest_accuracy,
    of_whole_groups,
    percent,
    run_frame,
)


@dataclass(frozen=True)
class Headline:
    """Headline number of a page."""

    name: str
    value: str
    note: str


def summarize(contents: PageData) -> pd.DataFrame:
    """Return one row per setting, attack and strategy, in the order of the axes, after the last round.

    A combination without a finished run has no row, unless the strategy stopped.

    Returns:
        `setting`, `attack` and `strategy`; `places`, the finished runs; `mark`, how many runs the strategy
        stopped, or that there is no result, see `PageData.marks`; `noted`, whether a mean has a mark.
        Shares: `accuracy`, `worst_class_accuracy` and `success`, mean over the
        runs, each with its standard deviation in `accuracy_deviation` and so on; `worst_class`, the class
        with the lowest mean. `lost_3` is the accuracy that the attack took from class 3, against the clean
        runs; `damage` the largest of these, and `damaged_class` its class. `class_names` has the names of the
        classes, or is empty. NaN: no value.
    """
    runs = {place: run for place, run in enumerate(contents.runs) if run.complete or run.stopped}
    read = (
        (contents.places[place], run.history.last if is_result(run) else None) for place, run in runs.items()
    )
    frame = run_frame(AXES, read).set_axis(list(runs))
    classes = class_columns(frame)
    lost = [name.replace("class", "lost") for name in classes]
    clean = [
        -1 if clean_run is None else clean_run for clean_run in map(contents.clean_runs.__getitem__, runs)
    ]
    frame[lost] = frame[classes].reindex(clean).to_numpy() - frame[classes].to_numpy()
    columns = [*MEASURES.values(), *classes, *lost]
    groups = of_whole_groups(frame, AXES, columns).groupby(list(AXES))
    means, deviations = groups[columns].mean(), groups[columns].std()
    cells = list(means.index)
    hit = _extreme(means[lost], "idxmax")
    return pd.DataFrame(
        {
            "setting": [contents.settings[setting] for setting, _, _ in cells],
            "attack": [contents.attacks[attack] for _, attack, _ in cells],
            "strategy": [contents.strategies[strategy] for _, _, strategy in cells],
            "places": [
                [place for place, run in runs.items() if run.complete and contents.places[place] == cell]
                for cell in cells
            ],
            "mark": [contents.marks.get(cell, "") for cell in cells],
            "noted": [contents.is_noted(cell) for cell in cells],
            "worst_class": _extreme(means[classes], "idxmin").array,
            "damage": means[lost].max(axis=1).array,
            "damage_deviation": [
                deviations.loc[cell, f"lost_{label}"] if pd.notna(label) else None
                for cell, label in zip(cells, hit, strict=True)
            ],
            "damaged_class": hit.array,
            "class_names": [
                next(
                    (runs[place].history.class_names for place in runs if contents.places[place] == cell), ()
                )
                for cell in cells
            ],
            **{name: means[name].array for name in (*MEASURES.values(), *lost)},
            **{f"{name}_deviation": deviations[name].array for name in MEASURES.values()},
        }
    )


def _extreme(by_class: pd.DataFrame, pick: str) -> pd.Series[int]:
    """Return the class of each row that `pick` (idxmin, idxmax) chooses, NA in a row without a value."""
    numbered = by_class.set_axis(range(by_class.shape[1]), axis=1).dropna(how="all")
    found = numbered.agg(pick, axis=1) if len(numbered) else pd.Series(dtype="Int64")
    return found.astype("Int64").reindex(by_class.index)


def page_table(contents: PageData, table: pd.DataFrame) -> PageTable:
    """Return the summary as a table of the page. A reader can sort and filter it.

    Args:
        contents: Runs of the page.
        table: From `summarize`.
    """
    several = len(contents.settings) > 1
    columns = [
        Column("strategy", "Strategy", "label", filtered=True),
        Column("attack", "Attack", "words", filtered=True, wide=True),
        *([Column("setting", "Setting", "words", filtered=True, wide=True)] if several else []),
        Column("accuracy", "Accuracy"),
        Column("worst", "Worst class"),
        Column("success", "Attack success"),
        Column("damage", "Damage"),
        Column("runs", "Runs", wide=True),
    ]
    caption = (
        "After the last round, in per cent: mean ± standard deviation over seeds. Damage is the accuracy "
        "that the class with the largest loss lost to the attack, in percentage points, against "
        "the clean run."
    )
    rows = [list(_cells(row, several=several)) for row in table.itertuples()]
    return PageTable("summary", "Headline numbers", columns, rows, caption)


def _cells(row: Any, *, several: bool) -> Iterator[Cell]:
    """Yield the cells of a row. The worst result of a strategy that stopped is below every accuracy."""
    yield Cell(row.strategy, note=", ".join([row.attack, *([row.setting] if several else [])]))
    yield Cell(row.attack)
    if several:
        yield Cell(row.setting)
    accuracy = row.mark or format_spread(row.accuracy, row.accuracy_deviation)
    stopped = row.mark not in ("", WITHOUT_RESULT)
    yield Cell(f"{accuracy} *" if row.noted else accuracy, STOPPED if stopped else row.accuracy)
    yield Cell(
        format_spread(row.worst_class_accuracy, row.worst_class_accuracy_deviation),
        row.worst_class_accuracy,
        _class_name(row.worst_class, row.class_names),
    )
    yield Cell(format_spread(row.success, row.success_deviation), row.success)
    yield Cell(
        format_spread(row.damage, row.damage_deviation),
        row.damage,
        _class_name(row.damaged_class, row.class_names),
    )
    yield Cell(str(len(row.places)), len(row.places))


def _class_name(label: int | None, names: Sequence[str]) -> str:
    if label is None or pd.isna(label):
        return ""
    return f"class {class_labels(names, int(label) + 1)[-1]}"


def headlines(contents: PageData, table: pd.DataFrame) -> list[Headline]:
    """Return the headline numbers.

    Args:
        contents: Runs of the page.
        table: From `summarize`.
    """
    return [*_extent(contents, table), *_clean(table), *_under_attack(table)]


def _extent(contents: PageData, table: pd.DataFrame) -> Iterator[Headline]:
    finished = [run for run in contents.runs if run.complete]
    table = table[table["places"].map(len) > 0]
    settings = table["setting"].nunique()
    parts = [
        _counted(_attacked(table)["attack"].nunique(), "attack"),
        _counted(table["strategy"].nunique(), "strategy", "strategies"),
        _counted(len({run.history.scenario.seed for run in finished}), "seed"),
    ]
    if settings > 1:
        parts.append(_counted(settings, "setting"))
    unfinished = len(contents.runs) - len(finished)
    yield Headline("Finished runs" if unfinished else "Runs", str(len(finished)), ", ".join(parts))
    stopped = sum(run.stopped for run in contents.runs)
    if unfinished:
        note = f"{stopped} of them stopped by the strategy" if stopped else "in none of the other numbers"
        yield Headline("Not finished", str(unfinished), f"{note}; listed below")
    without = sum(not is_result(run) for run in finished)
    if without:
        yield Headline("No result", str(without), "of the finished runs; the notes below the table say why")


def _clean(table: pd.DataFrame) -> Iterator[Headline]:
    clean = table[table["attack"].map(is_attack_free).astype(bool) & table["accuracy"].notna()]
    if len(clean):
        best = clean.iloc[int(clean["accuracy"].to_numpy().argmax())]
        yield Headline(
            "Best without attack", f"{percent(best['accuracy'])} %", f"accuracy of {best['strategy']}"
        )


def _under_attack(table: pd.DataFrame) -> Iterator[Headline]:
    attacked = _attacked(table)
    if attacked.empty:
        return
    accuracy = attacked["accuracy"].mask(attacked["mark"] != "", STOPPED)
    results = attacked[attacked["mark"] != WITHOUT_RESULT]
    if len(results):
        low = results.iloc[int(accuracy[results.index].to_numpy().argmin())]
        yield Headline(
            "Lowest accuracy",
            low["mark"] or f"{percent(low['accuracy'])} %",
            f"{low['strategy']} under {low['attack']}",
        )
    cases = cross_table(attacked.assign(accuracy=accuracy), "accuracy", ["setting", "attack"], "strategy")
    lowest = lowest_accuracy(cases).sort_index()
    if len(lowest) > 1 and lowest.max() >= 0:
        note = (
            f"{lowest.idxmax()}: the highest worst-case accuracy, under the attacks that all strategies ran"
        )
        yield Headline("Most robust", f"{percent(lowest.max())} %", note)
    aimed = attacked[attacked["success"].notna()]
    if len(aimed):
        top = aimed.iloc[int(aimed["success"].to_numpy().argmax())]
        yield Headline(
            "Highest attack success", f"{percent(top['success'])} %", f"{top['attack']} on {top['strategy']}"
        )


def _attacked(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table["attack"].map(is_attack_free).astype(bool)]


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"

"""The results of a study as a table for people, and as one object for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from fedpoison.cli.sheets import Sheet, records, spread
from fedpoison.study_results import Results

HEADINGS = {"worst_class_accuracy": "worst class", "success": "attack success"}
"""What a table calls the measures that its width has no room for."""


def sheet(results: Results) -> Sheet:
    """Return the table: one row a combination of the axes but the seed, of which some run came to its end."""
    means, deviations = results.summary(), results.summary("std")
    cells = means.index.to_frame(index=False).map(str).rename(columns=str)
    for name in means.columns:
        texts = [spread(*pair) for pair in zip(means[name], deviations[name], strict=True)]
        cells.insert(cells.shape[1], HEADINGS.get(str(name), str(name)), texts, allow_duplicates=True)
    return Sheet(f"{results.study.title}, %", cells, labels=means.index.nlevels)


def remarks(results: Results) -> Iterator[str]:
    """Yield where there is no mean although there are runs."""
    counts = results.seeds
    for row in records(counts[(counts["ended"] > 0) & (counts["ended"] < counts["asked"])]):
        asked, ended = row.pop("asked"), row.pop("ended")
        yield f"{spell(row)}: only {ended} of {asked} seeds came to the end, so that there is no mean"


def as_json(results: Results, folder: Path) -> dict[str, object]:
    """Return the results as plain values; what is not a number is null."""
    means, deviations = _measured(results, "mean"), _measured(results, "std")
    combinations = []
    for row in records(results.seeds):
        asked, ended = row.pop("asked"), row.pop("ended")
        key = tuple(row.values())
        found = {"means": means.get(key, {}), "deviations": deviations.get(key, {})}
        combinations.append({"place": row, "asked": asked, "ended": ended, **found})
    return {
        "study": results.study.name,
        "title": results.study.title,
        "combinations": combinations,
        "failures": records(results.failed),
        "path": str(folder),
    }


def spell(place: Mapping[str, object]) -> str:
    """Return where a run lies on the axes.

    >>> spell({"strategy": "krum", "seed": 0})
    'strategy=krum, seed=0'
    """
    return ", ".join(f"{axis}={value}" for axis, value in place.items())


def _measured(
    results: Results, reduce: Literal["mean", "std"]
) -> dict[tuple[object, ...], dict[str, object]]:
    """Return what each combination has of each measure, by its labels."""
    if not results.histories:
        return {}
    frame = results.summary(reduce)
    keys = [label if isinstance(label, tuple) else (label,) for label in frame.index]
    return dict(zip(keys, records(frame), strict=True))

"""How long runs will take, from those that were made before."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, median
from typing import Any

from fedpoison.scenario import Scenario
from fedpoison.store import RunFolder

COST = (
    "dataset", "train_samples", "test_samples", "model", "clients", "participation", "epochs", "steps",
    "batch_size", "precision", "evaluate_every",
)  # fmt: skip
"""Fields that decide how much work a round is: runs that agree in them are comparable."""
SAMPLES = 5
"""How many comparable runs are looked at for one estimate."""


def estimate(scenarios: Iterable[Scenario], out: Path, processors: int) -> float | None:
    """Return about how many seconds the runs will take on so many processors.

    A run takes as long as the complete ones in the store `out` that are comparable, in the first place those
    with the same attack and strategy; a run without any takes as long as the others on average.

    Returns:
        None where no run has a comparable one.
    """
    stored = _complete(out)
    known: dict[tuple[object, ...], float | None] = {}
    times = []
    for scenario in scenarios:
        key = _key(scenario.content())
        if key not in known:
            alike = [path for path, other in stored if other == key] or [
                path for path, other in stored if other[: len(COST)] == key[: len(COST)]
            ]
            known[key] = median(map(_effort, alike[:SAMPLES])) if alike else None
        effort = known[key]
        times.append(None if effort is None else effort * scenario.rounds / processors)
    found = [time for time in times if time is not None]
    return fmean(found) * len(times) if found else None


def _complete(out: Path) -> list[tuple[Path, tuple[object, ...]]]:
    return [
        (path.parent, _key(tomllib.loads((path.parent / "scenario.toml").read_text(encoding="utf-8"))))
        for path in sorted(out.glob("*/model.safetensors"))
        if not path.parent.name.startswith("central-")
    ]


def _key(content: dict[str, Any]) -> tuple[object, ...]:
    return *(content.get(name) for name in COST), str(content.get("attack")), content["strategy"]


def _effort(path: Path) -> float:
    """Return how many seconds a round took, times the workers that it kept busy."""
    workers: int = json.loads((path / "environment.json").read_text(encoding="utf-8"))["workers"]
    history = RunFolder(path).history()
    return workers * history.seconds / history.scenario.rounds

"""How long runs will take, from those that were made before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Any

from fedpoison.errors import FedPoisonError
from fedpoison.fields import read_toml
from fedpoison.scenario import Scenario
from fedpoison.store import CENTRAL, StoredRun

COST = (
    "dataset", "train_samples", "test_samples", "model", "clients", "participation", "epochs", "steps",
    "batch_size", "precision", "evaluate_every",
)  # fmt: skip
"""Fields that decide how much work a round is: runs that agree in them are comparable."""
Key = tuple[object, ...]
SAMPLES = 5
"""How many comparable runs are looked at for one estimate."""


def estimate(scenarios: Iterable[Scenario], out: Path, processors: int) -> float | None:
    """Return about how many seconds the runs will take on so many processors.

    A run takes as long as the complete ones in the store `out` that are comparable, in the first place those
    with the same attackers and strategy; a run without any takes as long as the others on average. What the
    store cannot show is passed over.

    Returns:
        None where no run has a comparable one.
    """
    stored = _complete(out)
    known: dict[Key, float | None] = {}
    times = []
    for scenario in scenarios:
        key = _key(scenario.content())
        if key not in known:
            alike = _efforts(stored, key, len(key)) or _efforts(stored, key, len(COST))
            known[key] = median(alike) if alike else None
        effort = known[key]
        times.append(None if effort is None else effort * scenario.rounds / processors)
    found = [time for time in times if time is not None]
    return fmean(found) * len(times) if found else None


def _complete(out: Path) -> list[tuple[StoredRun, Key]]:
    paths = [path.parent for path in sorted(out.glob("*/model.safetensors"))]
    return [(StoredRun(path), key) for path in paths if (key := _stored_key(path)) is not None]


def _stored_key(path: Path) -> Key | None:
    if path.name.startswith(CENTRAL):
        return None
    try:
        return _key(read_toml(path / "scenario.toml"))
    except FedPoisonError:
        return None


def _key(content: dict[str, Any]) -> Key:
    attackers = json.dumps([content.get("attack"), content.get("groups")], default=str)
    return *(content.get(name) for name in COST), attackers, content.get("strategy")


def _efforts(stored: Sequence[tuple[StoredRun, Key]], key: Key, fields: int) -> list[float]:
    """Return the efforts of a few stored runs that agree with the key in so many of its first fields."""
    alike = (folder for folder, other in stored if other[:fields] == key[:fields])
    return list(islice(_readable(alike), SAMPLES))


def _readable(folders: Iterable[StoredRun]) -> Iterator[float]:
    """Yield how many seconds a round took, times the workers that it kept busy, where a folder tells."""
    for folder in folders:
        workers = folder.environment.get("workers")
        try:
            history = folder.history
        except (FedPoisonError, ValueError):  # not text, for instance
            continue
        if isinstance(workers, int) and history.records:
            yield workers * history.seconds / history.scenario.rounds

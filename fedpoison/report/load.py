"""Load the stored runs of a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fedpoison.errors import FedPoisonError, RunError
from fedpoison.report.labels import is_clean
from fedpoison.results.store import CENTRALIZED, StoredRun


@dataclass(frozen=True, eq=False)
class StoredRuns:
    """Runs in some folders."""

    runs: list[StoredRun] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Reasons by folder: no federated run is in the folder, or its files cannot be read."""


def load_runs(paths: Iterable[Path]) -> StoredRuns:
    """Return the runs in run folders, in run stores, and in folders that hold any of these.

    If several folders contain the same run, the copy with the most rounds is loaded. Clean runs that differ
    only in settings of the attack are also loaded once. Centralized training is left out.

    Raises:
        RunError: A path does not exist or contains no run, or no run has a round to show.
    """
    runs: dict[str, StoredRun] = {}
    left_out: dict[str, str] = {}
    for folder in dict.fromkeys(folder.resolve() for path in paths for folder in _folders(path)):
        try:
            run_id, run = _read(folder)
        except FedPoisonError as error:
            left_out[str(folder)] = str(error)
            continue
        if run_id not in runs or run.progress > runs[run_id].progress:
            runs[run_id] = run
    for repeated, first in _repeated_clean_runs(runs.values()):
        del runs[repeated.history.scenario.run_id]
        left_out[str(repeated.history.path)] = f"it is a clean run, equal to the run in {first.history.path}."
    if not any(run.history.records for run in runs.values()):
        reasons = {
            run.history.path: run.failure.reason if run.failure else "no round was finished."
            for run in runs.values()
        }
        empty = [f"{path}: {reason}" for path, reason in reasons.items()]
        raise RunError("no run can be read. " + " ".join([*left_out.values(), *empty]))
    return StoredRuns(list(runs.values()), left_out)


def _repeated_clean_runs(runs: Iterable[StoredRun]) -> list[tuple[StoredRun, StoredRun]]:
    """Return pairs of a clean run and an equal clean run with at least as many rounds."""
    firsts: dict[str, StoredRun] = {}
    pairs = []
    for run in sorted(runs, key=lambda run: run.progress, reverse=True):
        scenario = run.history.scenario
        if is_clean(scenario):
            first = firsts.setdefault(scenario.without_attack(scenario.goal).run_id, run)
            if first is not run:
                pairs.append((run, first))
    return pairs


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise RunError(f"{path}: got no folder, expected a run or a run store.")
    found = {record.parent for record in path.rglob("rounds.jsonl")}
    found |= {note.parent for note in path.rglob("failure.json") if (note.parent / "scenario.toml").is_file()}
    if not found:
        raise RunError(f"{path}: no run found; give a folder that fedpoison wrote with --out.")
    return sorted(found)


def _read(folder: Path) -> tuple[str, StoredRun]:
    """Return the id and the run of a folder, or raise FedPoisonError if its files cannot be read."""
    if folder.name.startswith(CENTRALIZED):
        raise RunError(f"{folder}: centralized training, without a federation.")
    run = StoredRun(folder)
    _ = run.failure  # raises if its file is damaged
    return run.history.scenario.run_id, run

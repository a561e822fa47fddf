"""The stored runs that a report is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedpoison.errors import FedPoisonError, RunError
from fedpoison.history import History
from fedpoison.store import CENTRAL, RunFolder


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A run as its folder holds it; it has one record at least."""

    history: History
    environment: Mapping[str, object]
    """What the run was made with; empty where the folder does not say."""
    complete: bool
    """Whether the run came to its end."""


@dataclass(frozen=True, eq=False)
class Found:
    """What some folders hold."""

    runs: list[StoredRun] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Folders that hold no federated run or cannot be read, with the reason."""


def gather(paths: Iterable[Path]) -> Found:
    """Return the runs in run folders, in run stores, and in folders that hold any of these.

    A run that lies in several places is taken once, complete if it is so anywhere. Central training is
    left out.

    Raises:
        RunError: a path is not there or holds no run, or none of the runs can be read.
    """
    runs: dict[str, StoredRun] = {}
    left_out: dict[str, str] = {}
    for folder in dict.fromkeys(folder.resolve() for path in paths for folder in _folders(path)):
        try:
            run = _read(RunFolder(folder))
        except FedPoisonError as error:
            left_out[str(folder)] = str(error)
            continue
        run_id = run.history.scenario.run_id
        if run_id not in runs or run.complete > runs[run_id].complete:
            runs[run_id] = run
    if not runs:
        raise RunError("no run can be read. " + " ".join(left_out.values()))
    return Found(list(runs.values()), left_out)


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise RunError(f"{path}: got no folder, wanted a run or a run store.")
    found = sorted(record.parent for record in path.rglob("rounds.jsonl"))
    if not found:
        raise RunError(f"{path}: holds no run; give a folder that fedpoison wrote with --out.")
    return found


def _read(folder: RunFolder) -> StoredRun:
    if folder.path.name.startswith(CENTRAL):
        raise RunError(f"{folder.path}: was trained centrally, without a fleet.")
    history = folder.history()
    if not history.records:
        raise RunError(f"{folder.path}: no round was finished.")
    return StoredRun(history, folder.environment(), folder.complete)

"""Stored runs of a report, with their labels: the attack, and the fields in which settings differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpoison.errors import FedPoisonError, RunError
from fedpoison.results.store import CENTRALIZED, StoredRun
from fedpoison.scenario.fields import About, fields_about
from fedpoison.scenario.scenario import Scenario

CLEAN = "none"
_COMPARED, _GROUP = fields_about(Scenario, About.COMPARED), fields_about(Scenario, About.GROUP)


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


def attack_label(scenario: Scenario) -> str:
    """Return the attack of a scenario with its schedule, knowledge, groups and goal.

    The label of a clean run has the sizes of its groups, since these set the number of malicious clients that
    the strategy expects.

    >>> attack_label(Scenario(attack="backdoor", schedule="once(round=3)"))
    'backdoor, once(round=3)'
    >>> attack_label(Scenario(goal="backdoor"))
    'none, goal backdoor'
    """
    goal = None if scenario.goal is None else f"goal {scenario.goal}"
    return ", ".join(part for part in (*_attackers(scenario), goal) if part)


def _attackers(scenario: Scenario) -> Sequence[str | None]:
    if is_clean(scenario):
        return [CLEAN, "; ".join(group.settings_spec() for group in scenario.groups)]
    if scenario.groups:
        return ["; ".join(group.to_spec() for group in scenario.groups)]
    (group,) = scenario.attackers
    return group.attack, None if group.schedule == "always" else group.schedule, group.knowledge


def is_clean(scenario: Scenario) -> bool:
    """Return whether no client attacks."""
    return all(group.attack == CLEAN for group in scenario.attackers)


def is_attack_free(label: str) -> bool:
    """Return whether a label belongs to a clean run, with or without a goal."""
    return label.partition(", ")[0] == CLEAN


def ordered(labels: Iterable[str], first: str) -> list[str]:
    """Return each label once, in alphabetical order after `first`, with or without a goal."""
    return sorted(set(labels), key=lambda label: (label.partition(", ")[0] != first, label))


def split_settings(scenarios: Sequence[Scenario]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the fields that all scenarios share, and per scenario the fields in which they differ.

    Attack, strategy and seed do not count. A scenario with several groups of attackers has no fields of a
    single group; its result omits them.
    """
    contents = [
        {name: value for name, value in scenario.content().items() if name not in _COMPARED}
        for scenario in scenarios
    ]
    names = dict.fromkeys(name for content in contents for name in content)
    same = {name for name in names if len({repr(content.get(name)) for content in contents}) == 1}
    common = {name: contents[0][name] for name in names if name in same}
    return common, [
        {
            name: content.get(name)
            for name in names
            if name not in same and (name in content or name not in _GROUP)
        }
        for content in contents
    ]


def format_fields(fields: Mapping[str, Any]) -> str:
    """Return fields in one line.

    >>> format_fields({"lr": 0.1, "malicious_partition": None})
    'lr 0.1, malicious partition unset'
    """
    return ", ".join(
        f"{name.replace('_', ' ')} {'unset' if value is None else value}" for name, value in fields.items()
    )


def clean_run_places(scenarios: Sequence[Scenario]) -> list[int | None]:
    """Return per scenario the place of its clean run among them; None for clean runs and without one.

    The goal of the clean run does not change its accuracy, so the first match counts.
    """
    cleaned = [scenario.without_attack(None).run_id for scenario in scenarios]
    clean = [is_clean(scenario) for scenario in scenarios]
    places = {run_id: place for place, run_id in reversed(list(enumerate(cleaned))) if clean[place]}
    return [None if clean[place] else places.get(run_id) for place, run_id in enumerate(cleaned)]

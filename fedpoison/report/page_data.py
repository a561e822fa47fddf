"""Data of the page: the runs as plain values, rounded and downsampled."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

from fedpoison.report.load import (
    CLEAN,
    attack_label,
    clean_run_places,
    format_fields,
    ordered,
    split_settings,
)
from fedpoison.report.trust_matrix import evenly_spaced, trust_matrix
from fedpoison.results.defects import Defects, pair_notes
from fedpoison.results.history import History
from fedpoison.results.store import StoredRun
from fedpoison.results.strict_json import to_json

AXES = ("setting", "attack", "strategy")
CURVE_VALUES = 900_000
CONFUSION_VALUES = 900_000
TRUST_NUMBERS = 600_000
"""Numbers of each kind in the page, over all runs: the page must stay small enough for an e-mail."""
MAX_CURVE_ROUNDS = 200
WITHOUT_RESULT = "no result"
"""Text in place of the mean of a cell with a run that is no result."""


@dataclass(frozen=True)
class Limits:
    """Rounds per run that the page contains."""

    curve: int
    """Rounds of the accuracy curves."""
    matrices: int
    """Rounds with a confusion matrix."""

    @classmethod
    def from_class_counts(cls, classes: Sequence[int]) -> Limits:
        """Return the limits for runs with these numbers of classes."""
        return cls(
            curve=_fit(CURVE_VALUES, sum(number + 4 for number in classes)),
            matrices=_fit(CONFUSION_VALUES, sum(number**2 for number in classes)),
        )


def _fit(budget: int, size: int) -> int:
    return max(2, min(MAX_CURVE_ROUNDS, budget // size))


@dataclass(frozen=True, eq=False)
class PageData:
    """Contents of the page."""

    runs: Sequence[StoredRun]
    """Finished runs first, runs without a round last."""
    common: Mapping[str, Any]
    """Fields of the scenario that all runs share."""
    settings: Sequence[str]
    """Settings of the runs; a single setting is the empty text."""
    attacks: Sequence[str]
    strategies: Sequence[str]
    places: Sequence[tuple[int, int, int]]
    """Place of each run among settings, attacks and strategies."""
    clean_runs: Sequence[int | None]
    """Place of the clean run of each run; None without one, unless both runs finished, and if the clean run
    is no result."""

    @classmethod
    def from_runs(cls, runs: Sequence[StoredRun]) -> PageData:
        """Return the contents of a page about these runs, with the seeds of a cell in ascending order."""
        runs = sorted(
            runs, key=lambda run: (not run.complete, not run.history.records, run.history.scenario.seed)
        )
        scenarios = [run.history.scenario for run in runs]
        common, differing = split_settings(scenarios)
        texts = [format_fields(fields) for fields in differing]
        labels = [attack_label(scenario) for scenario in scenarios]
        settings = list(dict.fromkeys(texts))
        attacks = ordered(labels, CLEAN)
        strategies = ordered((scenario.strategy for scenario in scenarios), "fedavg")
        return cls(
            runs=runs,
            common=common,
            settings=settings,
            attacks=attacks,
            strategies=strategies,
            places=[
                (settings.index(fields), attacks.index(label), strategies.index(scenario.strategy))
                for fields, label, scenario in zip(texts, labels, scenarios, strict=True)
            ],
            clean_runs=[
                clean if clean is not None and run.complete and is_result(runs[clean]) else None
                for run, clean in zip(runs, clean_run_places(scenarios), strict=True)
            ],
        )

    @property
    def shown(self) -> Sequence[StoredRun]:
        """Runs with a round: the first of all runs."""
        return [run for run in self.runs if run.history.records]

    @property
    def unfinished(self) -> Sequence[int]:
        """Places of the unfinished runs."""
        return [place for place, run in enumerate(self.runs) if not run.complete]

    @cached_property
    def defects(self) -> dict[tuple[int, int, int], Defects]:
        """Defects of the finished runs of each cell together."""
        runs: dict[tuple[int, int, int], list[Defects]] = {}
        for cell, run in zip(self.places, self.runs, strict=True):
            if run.complete:
                runs.setdefault(cell, []).append(run.history.defects)
        return {cell: Defects.sum(parts) for cell, parts in runs.items()}

    @property
    def notes(self) -> list[str]:
        """One line per defect of the finished runs, with its setting, attacks and strategies."""
        lines = []
        for setting, text in enumerate(self.settings):
            pairs = {
                (self.attacks[attack], self.strategies[strategy]): defects
                for (place, attack, strategy), defects in sorted(self.defects.items(), key=itemgetter(0))
                if place == setting
            }
            lines += [f"{text}: {note}" if text else note for note in pair_notes(pairs)]
        return lines

    @property
    def marks(self) -> dict[tuple[int, int, int], str]:
        """Text that replaces the mean of each cell in which a run stopped or is no result.

        A mean over the other seeds would hide the worst case.
        """
        no_result = {cell: WITHOUT_RESULT for cell, defects in self.defects.items() if defects.no_result}
        stopped = Counter(cell for cell, run in zip(self.places, self.runs, strict=True) if run.stopped)
        finished = Counter(cell for cell, run in zip(self.places, self.runs, strict=True) if run.complete)
        return no_result | {
            cell: f"{count} of {count + finished[cell]} stopped" if finished[cell] else "stopped"
            for cell, count in stopped.items()
        }

    def is_noted(self, cell: tuple[int, int, int]) -> bool:
        """Return whether the mean of a cell, or its lack of a result, has a mark because of a note."""
        stopped = self.marks.get(cell, WITHOUT_RESULT) != WITHOUT_RESULT
        return bool(self.defects.get(cell, Defects()).notes) and not stopped

    def data(self) -> dict[str, object]:
        """Return the contents as JSON values: shares in parts of 100,000, None for missing values."""
        limits = Limits.from_class_counts([len(run.history.last.confusion) for run in self.shown])
        lines, environments = dict[str, int](), dict[str, int]()
        trust_matrices = self._trust_matrices()
        return {
            "settings": list(self.settings),
            "attacks": list(self.attacks),
            "strategies": list(self.strategies),
            "marks": [
                dict(zip(AXES, cell, strict=True)) | {"text": text} for cell, text in self.marks.items()
            ],
            "runs": [
                _run(run, limits)
                | dict(zip(AXES, self.places[place], strict=True))
                | {"twin": self.clean_runs[place], "ledger": trust_matrices.get(place)}
                | _provenance(run, lines, environments)
                for place, run in enumerate(self.shown)
            ],
            "notes": [
                dict(zip(AXES, cell, strict=True)) | {"texts": defects.notes}
                for cell, defects in self.defects.items()
                if defects.notes
            ],
            "lines": list(lines),
            "environments": list(environments),
        }

    def _trust_matrices(self) -> dict[int, dict[str, object]]:
        """Return as many trust matrices as fit, those of the first run of each cell first."""
        seen = Counter[tuple[int, int, int]]()
        turns = []
        for place, cell in enumerate(self.places[: len(self.shown)]):
            turns.append((seen[cell], place))
            seen[cell] += 1
        found, room = {}, TRUST_NUMBERS
        for _, place in sorted(turns):
            matrix = trust_matrix(self.runs[place].history) if room > 0 else None
            if matrix is not None:
                room -= matrix.size
                found[place] = asdict(matrix)
        return found


def is_result(run: StoredRun) -> bool:
    """Return whether a run is complete, and its last model says something about attack and strategy."""
    return run.complete and not run.history.defects.no_result


def _run(run: StoredRun, limits: Limits) -> dict[str, object]:
    history = run.history
    curve = [history.records[place] for place in evenly_spaced(len(history.records), limits.curve)]
    matrices = [history.records[place] for place in evenly_spaced(len(history.records), limits.matrices)]
    classes = zip(*(record.per_class_accuracy for record in curve), strict=True)
    return {
        "id": history.scenario.run_id,
        "seed": history.scenario.seed,
        "complete": run.complete,
        "failure": run.failure.reason if run.failure else None,
        "notes": history.notes,
        "planned": history.scenario.rounds,
        "folder": str(history.path or ""),
        "rounds": [record.round for record in curve],
        "accuracy": _shares(record.accuracy for record in curve),
        "worst": _shares(record.worst_class_accuracy for record in curve),
        "success": _shares(record.success for record in curve),
        "classes": [_shares(shares) for shares in classes],
        "names": list(history.class_names),
        "matrixRounds": [record.round for record in matrices],
        "matrices": [[number for row in record.confusion for number in row] for record in matrices],
        "trust": _trust(history),
        "seconds": seconds_by_phase(history),
    }


def _trust(history: History) -> list[float | None]:
    """Return the means of rejection rates, AUROC and malicious mass over the rounds with an attack."""
    frame = history.to_frame()
    columns = ["true_positive_rate", "false_positive_rate", "trust_auroc", "malicious_mass"]
    means = frame.loc[frame["acting"] > 0, columns].astype(float).mean()
    return [None if math.isnan(value) else round(float(value), 3) for value in means]


def seconds_by_phase(history: History) -> dict[str, float]:
    """Return the wall-clock seconds of each phase of a round, mean over the rounds, in their order."""
    total = dict.fromkeys(history.last.training.seconds, 0.0)
    for record in history.records:
        for phase, seconds in record.training.seconds.items():
            total[phase] = total.get(phase, 0.0) + seconds
    return {phase: round(seconds / max(1, history.last.round), 5) for phase, seconds in total.items()}


def _provenance(run: StoredRun, lines: dict[str, int], environments: dict[str, int]) -> dict[str, object]:
    """Return scenario and environment of a run as places in `lines` and `environments` of all runs."""
    own = {
        name: run.environment[name] for name in ("started", "command", "warnings") if name in run.environment
    }
    shared = {name: value for name, value in run.environment.items() if name not in own}
    return {
        "scenario": [
            lines.setdefault(line, len(lines)) for line in run.history.scenario.to_toml().splitlines()
        ],
        "made": own,
        "environment": environments.setdefault(to_json(shared, indent=2), len(environments)),
    }


def _shares(shares: Iterable[float | None]) -> list[int | None]:
    return [None if share is None or not math.isfinite(share) else round(100_000 * share) for share in shares]

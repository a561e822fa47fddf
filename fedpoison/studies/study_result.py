"""Results of a study, as tidy frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from fedpoison.errors import file_errors
from fedpoison.results.defects import Defects
from fedpoison.results.display import Displayed
from fedpoison.results.history import History
from fedpoison.results.round import Failure
from fedpoison.results.run_frame import MEASURES, measured, of_whole_groups
from fedpoison.studies.axes import AXIS_TITLES, Label
from fedpoison.studies.study import Study, StudyCell

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class StudyResults(Displayed):
    """Finished runs of a study, and the failures of the other runs."""

    study: Study
    histories: Mapping[StudyCell, History]
    failures: Mapping[StudyCell, Failure]

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row per run and evaluated round: the axes, `run_id`, `seed`, `round`, measures, classes.

        The measures are those of `History.to_frame`. `success` is the success rate of a targeted attack, and
        `class_3` is the accuracy of class 3.
        """
        rows = [row for cell, history in self.histories.items() for row in _rows(cell, history)]
        return _numeric(pd.DataFrame(rows), self.study.axes)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run: its last row of `rounds`, with the `seconds` and the defects of the whole run.

        `Defects.columns` describes the columns of the defects.
        """
        if self.rounds.empty:
            return self.rounds
        last = self.rounds.groupby(list(self.study.axes), sort=False).tail(1).reset_index(drop=True)
        defects = pd.DataFrame([history.defects.columns() for history in self.histories.values()])
        seconds = [history.seconds for history in self.histories.values()]
        return last.assign(seconds=seconds, **{str(name): defects[name] for name in defects})

    @property
    def failed(self) -> pd.DataFrame:
        """One row per failed run: the axes, `run_id` (empty without a scenario), `reason` and `refused`."""
        rows = [
            {
                **cell.axis_labels,
                "run_id": cell.scenario.run_id if cell.scenario else "",
                "reason": failure.reason,
                "refused": failure.aggregation_failed,
            }
            for cell, failure in self.failures.items()
        ]
        return pd.DataFrame(rows, columns=[*self.study.axes, "run_id", "reason", "refused"])

    @property
    def defects(self) -> dict[tuple[object, ...], Defects]:
        """Defects of the complete runs of each combination of the axes except the seed."""
        runs: dict[tuple[object, ...], list[Defects]] = {}
        for cell, history in self.histories.items():
            place = tuple(cell.axis_labels[axis] for axis in self._without_seed)
            runs.setdefault(place, []).append(history.defects)
        return {place: Defects.sum(parts) for place, parts in runs.items()}

    @property
    def remarks(self) -> list[str]:
        """One line per defect of the runs, with their places on the axes except the seed."""
        return [
            f"{format_place(dict(zip(self._without_seed, place, strict=True)))}: {note}"
            for place, defects in self.defects.items()
            for note in defects.notes
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per combination of all axes, in the order of the study, with `runs` and `stopped`.

        A run that failed for any reason counts as stopped.
        """
        return self._frame

    @property
    def headline(self) -> str:
        """Name and title of the study, and its numbers of complete and failed runs."""
        counts = f"{len(self.histories)} complete runs, {len(self.failures)} failed runs"
        return f"{self.study.name} ({self.study.title}), {counts}"

    def shown_frame(self) -> pd.DataFrame:
        """Return `summary`."""
        return self.summary() if self.histories else self.failed

    def plot(self) -> Figure:
        """Draw the figure of the study.

        Raises:
            ScenarioError: The study has no figure.
        """
        from fedpoison.studies.study_figure import draw  # noqa: PLC0415  # matplotlib takes a second to import

        return draw(self.study, self.complete_runs)

    @cached_property
    def _frame(self) -> pd.DataFrame:
        ended = dict(zip(map(_place, self.histories), self.runs.to_dict("records"), strict=True))
        rows = [
            {**cell.axis_labels, **ended.get(_place(cell), {}), "stopped": _place(cell) not in ended}
            for cell in self.study.cells()
        ]
        return pd.DataFrame(rows).reindex(columns=[*self.runs.columns, "stopped"])

    @property
    def seeds(self) -> pd.DataFrame:
        """One row per combination of the axes except the seed: number of runs `asked` for and `ended`."""
        stopped = self._frame.groupby(self._without_seed, sort=False)["stopped"]
        counts = pd.DataFrame({"asked": stopped.size(), "ended": stopped.size() - stopped.sum()})
        return counts.reset_index()

    @property
    def complete_runs(self) -> pd.DataFrame:
        """The rows of `runs`, with measures only if every seed of a combination ended, as means need it."""
        measures = self.runs.columns.intersection([*AXIS_TITLES])
        whole = of_whole_groups(self._frame, self._without_seed, measures)
        return whole[~whole["stopped"]].drop(columns="stopped").reset_index(drop=True)

    def summary(self, reduce: Literal["mean", "std"] = "mean") -> pd.DataFrame:
        """Return a table over the axes except the seed: accuracy, worst class and success of the last round.

        A value is NaN if a seed did not end.

        Args:
            reduce: Mean over the seeds, or standard deviation of a sample.
        """
        shown = [name for name in MEASURES.values() if self.runs[name].notna().any()]
        return self.complete_runs.groupby(self._without_seed, sort=False)[shown].agg(reduce)

    def write(self, folder: Path) -> None:
        """Write the study and its frames, as Parquet and as CSV, into a folder.

        Raises:
            RunError: The folder cannot be written.
        """
        with file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "study.toml").write_text(self.study.to_toml(), encoding="utf-8")
            frames = {"runs": self.runs, "rounds": self.rounds, "seeds": self.seeds, "failures": self.failed}
            for name, frame in frames.items():
                frame.to_parquet(folder / f"{name}.parquet", index=False)
                frame.to_csv(folder / f"{name}.csv", index=False)

    @property
    def _without_seed(self) -> list[str]:
        return [axis for axis in self.study.axes if axis != "seed"] or ["seed"]


def format_place(place: Mapping[str, object]) -> str:
    """Return a place on the axes in words.

    >>> format_place({"strategy": "krum", "seed": 0})
    'strategy=krum, seed=0'
    """
    return ", ".join(f"{axis}={value}" for axis, value in place.items())


def _place(cell: StudyCell) -> tuple[Label, ...]:
    return tuple(cell.axis_labels.values())


def _rows(cell: StudyCell, history: History) -> Iterator[dict[str, object]]:
    rounds = history.to_frame().reset_index().to_dict("records")
    for record, row in zip(history.records, rounds, strict=True):
        yield {
            "run_id": history.scenario.run_id,
            "seed": history.scenario.seed,
            **cell.axis_labels,
            **{str(name): value for name, value in row.items()},
            **measured(record),
        }


def _numeric(frame: pd.DataFrame, axes: Collection[str]) -> pd.DataFrame:
    """Return the frame with the axes first, and measures without any value as missing numbers."""
    if frame.empty:
        columns = [*axes, "run_id", "seed", "round", *MEASURES.values()]
        return pd.DataFrame(columns=list(dict.fromkeys(columns)))
    order = [*axes, *(name for name in frame.columns if name not in axes)]
    missing = [name for name in order if name not in axes and frame[name].isna().all()]
    return frame[order].astype(dict.fromkeys(missing, "float64"))

"""What came of a study, as tidy frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from fedpoison.errors import file_errors
from fedpoison.results.history import History
from fedpoison.results.round import Failure
from fedpoison.results.run_frame import MEASURES, measured, of_whole_groups
from fedpoison.studies.axes import Label
from fedpoison.studies.study import AXIS_TITLES, Study, StudyCell


@dataclass(frozen=True, eq=False)
class StudyResults:
    """The runs of a study that came to their end, and why the others did not."""

    study: Study
    histories: Mapping[StudyCell, History]
    failures: Mapping[StudyCell, Failure]

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row a run and evaluated round: the axes, `run_id`, `seed`, `round`, measures, classes.

        The measures are those of `History.rounds`; `success` is the rate at which a targeted attack gets what
        it wants, and `class_3` the accuracy of class 3.
        """
        rows = [row for cell, history in self.histories.items() for row in _rows(cell, history)]
        return _numeric(pd.DataFrame(rows), self.study.axes)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row a run: what `rounds` has after the last round; `seconds` are those of the whole run."""
        if self.rounds.empty:
            return self.rounds
        last = self.rounds.groupby(list(self.study.axes), sort=False).tail(1).reset_index(drop=True)
        return last.assign(seconds=[history.seconds for history in self.histories.values()])

    @property
    def failed(self) -> pd.DataFrame:
        """One row a run that failed: the axes, `run_id` where there is a scenario, `reason` and `refused`."""
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

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per combination of all axes, in the order of the study: `runs`, and whether it `stopped`.

        A run that failed for any reason counts as stopped.
        """
        ended = dict(zip(map(_place, self.histories), self.runs.to_dict("records"), strict=True))
        rows = [
            {**cell.axis_labels, **ended.get(_place(cell), {}), "stopped": _place(cell) not in ended}
            for cell in self.study.cells()
        ]
        return pd.DataFrame(rows).reindex(columns=[*self.runs.columns, "stopped"])

    @property
    def seeds(self) -> pd.DataFrame:
        """One row per combination of the axes except the seed: the runs `asked` for, and how many `ended`."""
        stopped = self.frame.groupby(self._without_seed, sort=False)["stopped"]
        counts = pd.DataFrame({"asked": stopped.size(), "ended": stopped.size() - stopped.sum()})
        return counts.reset_index()

    @property
    def complete_runs(self) -> pd.DataFrame:
        """The rows of `runs`, with measures only if every seed of a combination ended: the basis of means."""
        measures = self.runs.columns.intersection([*AXIS_TITLES])
        whole = of_whole_groups(self.frame, self._without_seed, measures)
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
            RunError: the folder cannot be written.
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


def _place(cell: StudyCell) -> tuple[Label, ...]:
    return tuple(cell.axis_labels.values())


def _rows(cell: StudyCell, history: History) -> Iterator[dict[str, object]]:
    rounds = history.rounds().reset_index().to_dict("records")
    for record, row in zip(history.records, rounds, strict=True):
        yield {
            "run_id": history.scenario.run_id,
            "seed": history.scenario.seed,
            **cell.axis_labels,
            **{str(name): value for name, value in row.items()},
            **measured(record),
        }


def _numeric(frame: pd.DataFrame, axes: Collection[str]) -> pd.DataFrame:
    """Return the frame with the axes first, and measures that no run has as missing numbers."""
    if frame.empty:
        columns = [*axes, "run_id", "seed", "round", *MEASURES.values()]
        return pd.DataFrame(columns=list(dict.fromkeys(columns)))
    order = [*axes, *(name for name in frame.columns if name not in axes)]
    missing = [name for name in order if name not in axes and frame[name].isna().all()]
    return frame[order].astype(dict.fromkeys(missing, "float64"))

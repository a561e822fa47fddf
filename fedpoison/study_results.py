"""What came of a study, as tidy frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fedpoison.axes import Label
from fedpoison.errors import file_errors
from fedpoison.history import History
from fedpoison.rounds import Failure
from fedpoison.study import Cell, Study
from fedpoison.study_figure import MEASURES

SUMMARY = ("accuracy", "worst_class_accuracy", "success")


@dataclass(frozen=True, eq=False)
class Results:
    """The runs of a study that came to their end, and why the others did not."""

    study: Study
    histories: Mapping[Cell, History]
    failures: Mapping[Cell, Failure]

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
                **cell.place,
                "run_id": cell.scenario.run_id if cell.scenario else "",
                "reason": failure.reason,
                "refused": failure.aggregation_failed,
            }
            for cell, failure in self.failures.items()
        ]
        return pd.DataFrame(rows, columns=[*self.study.axes, "run_id", "reason", "refused"])

    @property
    def seeds(self) -> pd.DataFrame:
        """One row a combination of the axes but the seed: the runs `asked` for, and how many `ended`."""
        rows = [(*labels, *counts) for labels, counts in self._counts.items()]
        return pd.DataFrame(rows, columns=[*self._beside_seed, "asked", "ended"])

    @property
    def averaged(self) -> pd.DataFrame:
        """The rows of `runs`, with measures only where every seed of a combination came to its end.

        What means are made of: one over the seeds that are left would hide those that an attack stopped.
        """
        counts = [self._counts[self._combination(cell)] for cell in self.histories]
        runs = self.runs.copy()
        runs.loc[[ended < asked for asked, ended in counts], runs.columns.intersection([*MEASURES])] = np.nan
        return runs

    def summary(self, reduce: str = "mean") -> pd.DataFrame:
        """Return a table over the axes but the seed: accuracy, worst class and success after the last round.

        NaN where a seed did not come to its end.

        Args:
            reduce: `mean` over the seeds, or their standard deviation (of a sample), `std`.
        """
        shown = [name for name in SUMMARY if self.runs[name].notna().any()]
        groups = self.averaged.groupby(self._beside_seed, sort=False)[shown]
        return groups.mean() if reduce == "mean" else groups.std()

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
    def _beside_seed(self) -> list[str]:
        return [axis for axis in self.study.axes if axis != "seed"] or ["seed"]

    @cached_property
    def _counts(self) -> Mapping[tuple[Label, ...], tuple[int, int]]:
        asked = Counter(self._combination(cell) for cell in self.study.cells())
        ended = Counter(self._combination(cell) for cell in self.histories)
        return {labels: (count, ended[labels]) for labels, count in asked.items()}

    def _combination(self, cell: Cell) -> tuple[Label, ...]:
        return tuple(cell.place[axis] for axis in self._beside_seed)


def _rows(cell: Cell, history: History) -> Iterator[dict[str, object]]:
    measured = history.rounds().reset_index().to_dict("records")
    for record, measures in zip(history.records, measured, strict=True):
        yield {
            "run_id": history.scenario.run_id,
            "seed": history.scenario.seed,
            **cell.place,
            **{str(name): value for name, value in measures.items()},
            "success": record.success,
            **{f"class_{label}": share for label, share in enumerate(record.per_class_accuracy)},
        }


def _numeric(frame: pd.DataFrame, axes: Collection[str]) -> pd.DataFrame:
    """Return the frame with the axes first, and measures that no run has as missing numbers."""
    if frame.empty:
        return pd.DataFrame(columns=list(dict.fromkeys([*axes, "run_id", "seed", "round", *SUMMARY])))
    order = [*axes, *(name for name in frame.columns if name not in axes)]
    missing = [name for name in order if name not in axes and frame[name].isna().all()]
    return frame[order].astype(dict.fromkeys(missing, "float64"))

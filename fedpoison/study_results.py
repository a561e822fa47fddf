"""What came of a study, as tidy frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from fedpoison.errors import RunError
from fedpoison.history import History
from fedpoison.study import Cell, Study

SUMMARY = ("accuracy", "worst_class_accuracy", "success")


@dataclass(frozen=True, eq=False)
class Results:
    """The runs of a study that came to their end, and why the others did not."""

    study: Study
    histories: Mapping[Cell, History]
    failures: Mapping[Cell, str]

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
        """One row a run that failed: the axes, `run_id` where there is a scenario, and the `reason`."""
        rows = [
            {**cell.place, "run_id": cell.scenario.run_id if cell.scenario else "", "reason": reason}
            for cell, reason in self.failures.items()
        ]
        return pd.DataFrame(rows, columns=[*self.study.axes, "run_id", "reason"])

    def summary(self, reduce: str = "mean") -> pd.DataFrame:
        """Return a table over the axes but the seed: accuracy, worst class and success after the last round.

        Args:
            reduce: `mean` over the seeds, or their standard deviation (of a sample), `std`.
        """
        axes = [axis for axis in self.study.axes if axis != "seed"] or ["seed"]
        shown = [name for name in SUMMARY if self.runs[name].notna().any()]
        groups = self.runs.groupby(axes, sort=False)[shown]
        return groups.mean() if reduce == "mean" else groups.std()

    def write(self, folder: Path) -> None:
        """Write the study and its frames, as Parquet and as CSV, into a folder.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "study.toml").write_text(self.study.to_toml(), encoding="utf-8")
            for name, frame in {"runs": self.runs, "rounds": self.rounds, "failures": self.failed}.items():
                frame.to_parquet(folder / f"{name}.parquet", index=False)
                frame.to_csv(folder / f"{name}.csv", index=False)
        except OSError as error:
            raise RunError(f"{folder}: cannot be written ({error.strerror}).") from None


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
        return pd.DataFrame(columns=[*axes, "run_id", "seed", "round", *SUMMARY])
    order = [*axes, *(name for name in frame.columns if name not in axes)]
    missing = [name for name in order if name not in axes and frame[name].isna().all()]
    return frame[order].astype(dict.fromkeys(missing, "float64"))

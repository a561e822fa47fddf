"""Run a study: run the missing scenarios, and load the results of all runs as tidy frames."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from fedpoison.data import Dataset
from fedpoison.errors import file_errors
from fedpoison.federation.datasets import dataset_of, needs_resolving, resolve_dataset
from fedpoison.results.display import Displayed
from fedpoison.results.history import History
from fedpoison.results.provenance import Notify, warn_version_mismatch
from fedpoison.results.round import Failure
from fedpoison.results.run_frame import MEASURES, measured, of_whole_groups
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchCallbacks, run_all
from fedpoison.studies.axes import AXIS_TITLES, Label
from fedpoison.studies.study import Study, StudyCell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)


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
        """One row per run: its last row of `rounds`, with the `seconds` of the whole run."""
        if self.rounds.empty:
            return self.rounds
        last = self.rounds.groupby(list(self.study.axes), sort=False).tail(1).reset_index(drop=True)
        return last.assign(seconds=[history.seconds for history in self.histories.values()])

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
        from fedpoison.studies.figures import draw  # noqa: PLC0415  # matplotlib takes a second to import

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


@dataclass(frozen=True, eq=False)
class SweepPlan:
    """Runs of a study that are missing, stored or failed."""

    study: Study
    out: Path
    cells: Sequence[StudyCell]
    """Every combination, with the data set that `auto` resolves to."""
    failures: Mapping[StudyCell, Failure]
    """Runs that failed before, and combinations that cannot run, with the reason."""
    missing: Sequence[Scenario]
    """Runs to run; equal runs once."""
    fresh: bool = False
    """Whether complete runs in the store are run again."""

    @property
    def stored(self) -> list[Scenario]:
        """Complete run in the store of each combination."""
        missing = set(self.missing)
        stored = [cell.scenario for cell in self.cells if cell not in self.failures]
        return [scenario for scenario in stored if scenario is not None and scenario not in missing]


def plan(
    study: Study,
    *,
    out: Path,
    retry_failed: bool = False,
    fresh: bool = False,
    data_dir: str | Path | None = None,
) -> SweepPlan:
    """Return the missing, stored and failed runs of a study.

    Args:
        study: Scenarios to run.
        out: Run store.
        retry_failed: Whether to repeat the runs that failed before.
        fresh: Whether to repeat all runs, also those that failed before.
        data_dir: As for `simulate`.

    Raises:
        DataError: A data set is not available, or cannot be used.
    """
    cells = _resolved(study.cells(), data_dir)
    failures: dict[StudyCell, Failure] = {}
    missing: dict[Scenario, None] = {}
    for cell in cells:
        if cell.scenario is None:
            failures[cell] = Failure(cell.reason)
            continue
        folder = StoredRun(out / cell.scenario.run_id)
        failure = None if retry_failed or fresh else folder.permanent
        if failure is not None:
            failures[cell] = failure
        elif fresh or not folder.complete:
            missing[cell.scenario] = None
    return SweepPlan(study, out, cells, failures, list(missing), fresh)


def sweep(
    planned: SweepPlan,
    *,
    jobs: int | None = None,
    ray_address: str | None = None,
    checkpoint_every: int | None = None,
    data_dir: str | Path | None = None,
    callbacks: BatchCallbacks | None = None,
    notify: Notify = _log.warning,
) -> StudyResults:
    """Run the missing runs, and return the results of all runs.

    Args:
        planned: From `plan`.
        jobs: Number of parallel runs, as for `run_all`.
        ray_address: Address of a Ray cluster.
        checkpoint_every: As for `simulate`.
        data_dir: As for `simulate`.
        callbacks: As for `run_all`.
        notify: Called with warnings before the first run, as by `run_all`.

    Raises:
        DataError: A data set is not available.
        EngineError: Ray is not available.
        RunError: The store cannot be written, or a complete run in it is damaged.
    """
    warn_version_mismatch(
        [StoredRun(planned.out / run.run_id) for run in dict.fromkeys(planned.stored)], notify
    )
    batch = run_all(
        planned.missing,
        out=planned.out,
        jobs=jobs,
        ray_address=ray_address,
        fresh=planned.fresh,
        checkpoint_every=checkpoint_every,
        keep_going=True,
        permanent_failures=True,
        data_dir=data_dir,
        callbacks=callbacks or BatchCallbacks(),
        notify=notify,
    )
    histories: dict[StudyCell, History] = {}
    failures = dict(planned.failures)
    for cell in planned.cells:
        if cell.scenario is None or cell in failures:
            continue
        if cell.scenario in batch.failures:
            failures[cell] = batch.failures[cell.scenario]
            continue
        histories[cell] = (
            batch.histories.get(cell.scenario) or StoredRun(planned.out / cell.scenario.run_id).history
        )
    return StudyResults(planned.study, histories, failures)


def _resolved(cells: Sequence[StudyCell], data_dir: str | Path | None) -> list[StudyCell]:
    """Return the cells with the data set that `auto` resolves to, and with the digest of own data."""
    found: dict[str, Dataset] = {}
    resolved = []
    for cell in cells:
        scenario = cell.scenario
        if scenario is not None and needs_resolving(scenario):
            if scenario.dataset not in found:
                found[scenario.dataset] = dataset_of(scenario, data_dir=data_dir)
            scenario = resolve_dataset(scenario, found[scenario.dataset])
        resolved.append(dataclasses.replace(cell, scenario=scenario))
    return resolved

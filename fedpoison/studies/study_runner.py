"""Running a study: what is missing in the store is made, and all of it is read."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpoison.data import AUTO, Dataset, load_dataset
from fedpoison.federation.federation import resolve_dataset
from fedpoison.results.history import History
from fedpoison.results.provenance import Notify, warn_version_mismatch
from fedpoison.results.round import Failure
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchCallbacks, run_all
from fedpoison.studies.study import Study, StudyCell
from fedpoison.studies.study_results import StudyResults

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SweepPlan:
    """What there is to do for a study."""

    study: Study
    out: Path
    cells: Sequence[StudyCell]
    """Every combination, with the data set that is really used."""
    failures: Mapping[StudyCell, Failure]
    """Those that failed before and those that cannot be run, with the reason."""
    missing: Sequence[Scenario]
    """The runs to make; equal ones once."""
    fresh: bool = False
    """Whether they are made anew where the store holds them complete."""

    @property
    def stored(self) -> list[Scenario]:
        """The run of each combination that the store holds complete."""
        missing = set(self.missing)
        stored = [cell.scenario for cell in self.cells if cell not in self.failures]
        return [scenario for scenario in stored if scenario is not None and scenario not in missing]


def plan(
    study: Study,
    *,
    out: Path,
    retry_failed: bool = False,
    fresh: bool = False,
    data_dir: Path | None = None,
) -> SweepPlan:
    """Return what there is to do for a study.

    Args:
        study: the scenarios.
        out: the run store.
        retry_failed: whether to make the runs again that failed before.
        fresh: whether to make all runs anew, those that failed before included.
        data_dir: as for `simulate`.

    Raises:
        DataError: the study leaves the data set to us, and none can be had.
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
    data_dir: Path | None = None,
    callbacks: BatchCallbacks | None = None,
    notify: Notify = _log.warning,
) -> StudyResults:
    """Make the runs that are missing, and return all that there is.

    Args:
        planned: from `plan`.
        jobs: how many runs at once, as for `run_all`.
        ray_address: a Ray cluster to use.
        data_dir: as for `simulate`.
        callbacks: as for `run_all`.
        notify: told before the first run, as by `run_all`.

    Raises:
        DataError: a data set cannot be had.
        EngineError: Ray cannot be had.
        RunError: the store cannot be written, or a complete run in it is damaged.
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
        made = batch.histories.get(cell.scenario)
        histories[cell] = made or StoredRun(planned.out / cell.scenario.run_id).history
    return StudyResults(planned.study, histories, failures)


def _resolved(cells: Sequence[StudyCell], data_dir: Path | None) -> list[StudyCell]:
    """Return the cells with the data set that `auto` stands for."""
    found: Dataset | None = None
    resolved = []
    for cell in cells:
        scenario = cell.scenario
        if scenario is not None and scenario.dataset == AUTO:
            found = found or load_dataset(AUTO, data_dir=data_dir)
            scenario = resolve_dataset(scenario, found)
        resolved.append(dataclasses.replace(cell, scenario=scenario))
    return resolved

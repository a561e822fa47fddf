"""Run a study: plan the missing scenarios, run them, and load the results of all runs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpoison.data import Dataset
from fedpoison.federation.datasets import dataset_of, needs_resolving, resolve_dataset
from fedpoison.results.history import History
from fedpoison.results.provenance import Notify, warn_version_mismatch
from fedpoison.results.round import Failure
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchCallbacks, run_all
from fedpoison.studies.study import Study, StudyCell
from fedpoison.studies.study_result import StudyResults

_log = logging.getLogger(__name__)


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

    If the study has `pretrain_rounds`, its first run is complete in the store afterwards.

    Args:
        study: Scenarios to run.
        out: Run store.
        retry_failed: Whether to repeat the runs that failed before.
        fresh: Whether to repeat all runs, also those that failed before.
        data_dir: As for `simulate`.

    Raises:
        DataError: A data set is not available, or cannot be used.
        RunError: The first run of a study with `pretrain_rounds` failed.
    """
    study = _pretrained(study, out, data_dir)
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


def _pretrained(study: Study, out: Path, data_dir: str | Path | None) -> Study:
    """Return a study that starts from the model of a clean run of its base, if it asks for one."""
    if not study.pretrain_rounds:
        return study
    clean = Scenario.parse(study.base).without_attack(None).replace(rounds=study.pretrain_rounds)
    result = run_all([clean], out=out, data_dir=data_dir, jobs=1)
    result.check()
    return study.started_from(out / result.histories[clean].scenario.run_id)


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

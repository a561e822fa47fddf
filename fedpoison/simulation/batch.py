"""Many runs in parallel: each run is a Ray task, on the CPUs of one machine or of a cluster.

A run in a task uses one worker thread, so parallel runs do not compete for CPUs. Only the driver writes the
run store, so a cluster needs no shared disk. A failed run is in the store with its rounds and the reason.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Required, Self, TypedDict, Unpack

from fedpoison.data import Dataset
from fedpoison.engines.ray_session import ray_session
from fedpoison.errors import RunError, ScenarioError
from fedpoison.federation.datasets import dataset_of, resolve_dataset
from fedpoison.federation.federation import Federation
from fedpoison.processors import processor_count
from fedpoison.results.checkpoint import Checkpoint
from fedpoison.results.history import History
from fedpoison.results.provenance import Notify, environment, warn_version_mismatch
from fedpoison.results.round import Failure, Round
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.ray_task import FinishedRun, TaskRound, run_in_tasks
from fedpoison.simulation.run import run_federation

_log = logging.getLogger(__name__)

RunResult = History | Failure
_Results = Iterator[tuple[Scenario, RunResult]]


@dataclass(frozen=True, eq=False)
class BatchCallbacks:
    """Callbacks that report the progress of many runs. Default: do nothing."""

    on_start: Callable[[Scenario], None] = lambda _: None
    on_round: Callable[[Scenario, Round], None] = lambda *_: None
    on_end: Callable[[Scenario, RunResult], None] = lambda *_: None
    """Function that receives the history of the run, or its failure."""


class BatchOptions(TypedDict, total=False):
    """Keyword arguments of every function that runs many scenarios."""

    out: Required[Path]
    """Run store. Complete runs in it are loaded and not repeated."""
    jobs: int | None
    """Number of parallel runs. Default: one per CPU. With 1, runs stay in this process, and each run uses all
    CPUs."""
    ray_address: str | None
    """Address of a Ray cluster, as for `ray_session`. Default: Ray on this machine."""
    fresh: bool
    """Whether to repeat complete runs of the store, and to start interrupted runs again. Default: False."""
    checkpoint_every: int | None
    """Number of rounds between two checkpoints of a run, as for `simulate`."""
    data_dir: str | Path | None
    """Data set folder, as for `simulate`."""
    callbacks: BatchCallbacks
    """Callbacks for the start, the rounds and the end of each run."""
    notify: Notify
    """Receives warnings of attacks without effect, of loaded runs that another version of fedpoison wrote,
    and of runs that are no result. Default: the log."""


@dataclass(frozen=True, eq=False)
class BatchResult:
    """Results of many runs, by requested scenario."""

    histories: dict[Scenario, History] = field(default_factory=dict)
    """Complete runs."""
    failures: dict[Scenario, Failure] = field(default_factory=dict)
    """Reasons why the other runs failed."""

    @classmethod
    def from_results(cls, results: Mapping[Scenario, RunResult]) -> Self:
        """Separate histories from failures."""
        return cls(
            {scenario: each for scenario, each in results.items() if isinstance(each, History)},
            {scenario: each for scenario, each in results.items() if isinstance(each, Failure)},
        )

    def check(self, *, ignore: Sequence[Scenario] = ()) -> None:
        """Raise an error that names each reason once, if a run failed.

        Args:
            ignore: runs that may fail.

        Raises:
            RunError: a run failed.
        """
        by_reason: dict[str, list[Scenario]] = {}
        for scenario, failure in self.failures.items():
            if scenario not in ignore:
                by_reason.setdefault(failure.reason, []).append(scenario)
        if by_reason:
            failed, runs = sum(map(len, by_reason.values())), len(self.failures) + len(self.histories)
            parts = [f"{_named(scenarios)}: {reason}" for reason, scenarios in by_reason.items()]
            raise RunError(f"{failed} of {runs} runs stopped. " + " ".join(parts))

    @property
    def aggregation_failed(self) -> list[Scenario]:
        """Runs that stopped because the strategy could not aggregate a round."""
        return [scenario for scenario, failure in self.failures.items() if failure.aggregation_failed]


def _named(scenarios: Sequence[Scenario]) -> str:
    first, others = scenarios[0], len(scenarios) - 1
    name = f"{first.strategy} under {first.attack}, seed {first.seed}"
    return f"{name}, and {others} more" if others else name


def run_all(
    scenarios: Iterable[Scenario],
    *,
    keep_going: bool = False,
    permanent_failures: bool = False,
    **options: Unpack[BatchOptions],
) -> BatchResult:
    """Run every scenario that is not complete in the store, and return all results.

    If a run fails, the store keeps the reason and the other runs continue.

    Args:
        scenarios: scenarios to run. Equal scenarios run once.
        keep_going: whether an invalid scenario counts as a failed run, in place of an error.
        permanent_failures: whether later sweeps skip the failed runs unless they are asked to repeat them.
        options: see `BatchOptions`.

    Raises:
        ScenarioError: a scenario is invalid, unless `keep_going`. Raised before any training.
        DataError: a data set is not available.
        EngineError: Ray does not start.
        RunError: a failure cannot be written into the store, or a complete run in the store is damaged.
    """
    with batch_runner(keep_going=keep_going, permanent_failures=permanent_failures, **options) as run:
        return run(scenarios)


@contextmanager
def batch_runner(
    *, keep_going: bool = False, permanent_failures: bool = False, **options: Unpack[BatchOptions]
) -> Iterator[Callable[[Iterable[Scenario]], BatchResult]]:
    """Yield a function that runs a batch, for searches in which each batch depends on the previous results.

    All batches share one Ray session, which starts when a batch needs it. Each warning is reported once. With
    `fresh`, each complete run is repeated once.
    """
    with ExitStack() as ray:
        yield _Runner(ray, keep_going=keep_going, permanent_failures=permanent_failures, **options).run


@dataclass(frozen=True, eq=False)
class _Plan:
    """A run to execute."""

    scenario: Scenario
    """Scenario with the resolved data set."""
    dataset: Dataset
    warnings: Sequence[str] = ()
    """Reasons why attacks of the scenario have no effect."""
    failure: Failure | None = None
    """Reason why the scenario is invalid."""


@dataclass(frozen=True, eq=False)
class _Runner:
    """Runner of consecutive batches. Closing `ray` closes the Ray session that a batch starts."""

    ray: ExitStack
    _: KW_ONLY
    out: Path
    jobs: int | None = None
    ray_address: str | None = None
    fresh: bool = False
    checkpoint_every: int | None = None
    keep_going: bool = False
    permanent_failures: bool = False
    data_dir: str | Path | None = None
    callbacks: BatchCallbacks = field(default_factory=BatchCallbacks)
    notify: Notify = _log.warning
    done: set[Scenario] = field(default_factory=set)
    warned: set[str] = field(default_factory=set)

    def run(self, scenarios: Iterable[Scenario]) -> BatchResult:
        requested = dict(_plans(scenarios, self.data_dir, keep_going=self.keep_going))
        results: dict[Scenario, RunResult] = {}
        missing: list[_Plan] = []
        reused: list[StoredRun] = []
        for plan in {plan.scenario: plan for plan in requested.values()}.values():
            folder = StoredRun(self.out / plan.scenario.run_id)
            if plan.failure:
                results[plan.scenario] = plan.failure
            elif folder.complete and (not self.fresh or plan.scenario in self.done):
                results[plan.scenario] = folder.history
                reused.append(folder)
            else:
                missing.append(plan)
        for plan in requested.values():
            for warning in plan.warnings:
                self._warn(warning)
        warn_version_mismatch(reused, self._warn)
        for scenario, result in results.items():
            self._end(scenario, result)
        for scenario, result in self._execute(missing):
            results[scenario] = result
            self.done.add(scenario)
            self._end(scenario, result)
        ended = {scenario: results[plan.scenario] for scenario, plan in requested.items()}
        return BatchResult.from_results(ended)

    def _end(self, scenario: Scenario, result: RunResult) -> None:
        if isinstance(result, Failure):
            RunWriter(self.out / scenario.run_id).fail(scenario, result, permanent=self.permanent_failures)
        else:
            for reason in result.defects.no_result:
                self._warn(f"{scenario.strategy} under {scenario.threat}: no result: {reason}")
        self.callbacks.on_end(scenario, result)

    def _warn(self, warning: str) -> None:
        if warning not in self.warned:
            self.warned.add(warning)
            self.notify(warning)

    def _execute(self, plans: Sequence[_Plan]) -> _Results:
        """Yield the result of each run: in this process if one runs at a time, otherwise in Ray tasks."""
        local = self.ray_address is None
        jobs = self.jobs or (processor_count() if local else None)
        if not plans or (local and 1 in (jobs, len(plans))):
            yield from self._run_in_sequence(plans)
        else:
            cpus = self.ray.enter_context(ray_session(self.ray_address, cpus=jobs))
            yield from self._run_in_ray_tasks(plans, jobs or cpus)

    def _run_in_sequence(self, plans: Sequence[_Plan]) -> _Results:
        for plan in plans:
            self.callbacks.on_start(plan.scenario)
            try:
                on_round = functools.partial(self.callbacks.on_round, plan.scenario)
                federation = Federation(plan.scenario, plan.dataset)
                history = run_federation(
                    federation,
                    out=self.out,
                    on_round=on_round,
                    checkpoint_every=self.checkpoint_every,
                    fresh=self.fresh,
                    notify=self._warn,
                )
            except Exception as error:  # noqa: BLE001  # an error of any kind ends one run, not the others
                yield plan.scenario, Failure.from_error(error)
            else:
                yield plan.scenario, history

    def _run_in_ray_tasks(self, plans: Sequence[_Plan], jobs: int) -> _Results:
        writers: dict[Scenario, RunWriter] = {}
        planned = {plan.scenario: plan for plan in plans}

        def begin(scenario: Scenario) -> Checkpoint | None:
            self.callbacks.on_start(scenario)
            plan = planned[scenario]
            known = environment("local", 1, plan.warnings, plan.dataset.train.class_names)
            path = self.out / scenario.run_id
            writers[scenario] = writer = RunWriter.begin(path, scenario, known, fresh=self.fresh)
            if writer.notice is not None:
                self._warn(writer.notice)
            for record in writer.records:
                self.callbacks.on_round(scenario, record)
            return writer.checkpoint

        runs = [(plan.scenario, plan.dataset) for plan in plans]
        for scenario, step in run_in_tasks(runs, jobs, begin, self.checkpoint_every):
            try:
                result = _store(writers[scenario], scenario, step) if scenario in writers else step
            except RunError as error:
                result = Failure.from_error(error)
            if isinstance(step, TaskRound) and not isinstance(result, Failure):
                self.callbacks.on_round(scenario, step.record)
            elif not isinstance(result, TaskRound | FinishedRun):
                yield scenario, result


def _plans(
    scenarios: Iterable[Scenario], data_dir: str | Path | None, *, keep_going: bool
) -> Iterator[tuple[Scenario, _Plan]]:
    """Yield each scenario with its plan.

    A `Federation` is built to find errors, and dropped to save memory.
    """
    datasets: dict[str, Dataset] = {}
    for scenario in scenarios:
        name = scenario.dataset
        if name not in datasets:
            datasets[name] = dataset_of(scenario, data_dir=data_dir)
        resolved = resolve_dataset(scenario, datasets[name])
        try:
            yield scenario, _Plan(resolved, datasets[name], Federation(resolved, datasets[name]).no_effect)
        except ScenarioError as error:
            if not keep_going:
                raise
            yield scenario, _Plan(resolved, datasets[name], failure=Failure.from_error(error))


def _store(
    writer: RunWriter, scenario: Scenario, step: TaskRound | FinishedRun | Failure
) -> TaskRound | RunResult:
    """Write a message of a task into the store. Return the result of the run if it ended."""
    if isinstance(step, TaskRound):
        writer.append(step.record)
        writer.records.append(step.record)
        if step.checkpoint is not None:
            writer.save(step.checkpoint)
        return step
    if isinstance(step, Failure):
        writer.release()
        return step
    writer.finish(step.model)
    return History(scenario, writer.records, writer.path, StoredRun(writer.path).class_names)

"""Many runs at once: whole runs as Ray tasks, over this machine's processors or a cluster.

A run in a task has one worker thread, so that runs share the processors and never fight for them. The
driver alone writes the run store: a cluster needs no shared disk, and a run is in the store whole, or as far
as it came with the reason why.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Unpack

from fedpoison.batch_options import BatchOptions
from fedpoison.datasets import Dataset, load_dataset
from fedpoison.environment import Notify, tell_versions
from fedpoison.errors import RunError, ScenarioError
from fedpoison.fleet import Federation, resolve_dataset
from fedpoison.history import History
from fedpoison.outcomes import Batch, Outcome
from fedpoison.ray_session import ray_session
from fedpoison.rounds import Failure, Round
from fedpoison.run_task import Ended, steps
from fedpoison.scenario import Scenario
from fedpoison.simulation import run
from fedpoison.store import RunWriter, StoredRun
from fedpoison.watch import Watch

_log = logging.getLogger(__name__)

RETRIES = 2
"""How often a run is made again whose process was lost."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A run that is asked for."""

    scenario: Scenario
    """With the data set that is really used."""
    dataset: Dataset
    idle: Sequence[str] = ()
    """Why its attacks do nothing, where they do not."""
    failure: Failure | None = None
    """Why it cannot be run, where it cannot."""


Outcomes = Iterator[tuple[Scenario, Outcome]]


def run_all(
    scenarios: Iterable[Scenario],
    *,
    keep_going: bool = False,
    settle: bool = False,
    **options: Unpack[BatchOptions],
) -> Batch:
    """Make every run that the store does not hold complete, and return all of them.

    A run that has to stop is a failure among the others, in the store with its reason, and the rest goes on.

    Args:
        scenarios: what to run; equal ones are run once.
        keep_going: have a scenario that cannot be run be a failure, too, in place of an error.
        settle: have the sweeps to come make none of the failed runs again unless they are asked to.
        options: see `BatchOptions`.

    Raises:
        ScenarioError: a scenario cannot be run, unless `keep_going`; found before any training.
        DataError: a data set cannot be had.
        EngineError: Ray cannot be had.
        RunError: why a run failed cannot be written into the store, or a complete run in it is damaged.
    """
    with ExitStack() as ray:
        return _Series(ray, keep_going=keep_going, settle=settle, **options).run(scenarios)


@contextmanager
def batches(
    *, keep_going: bool = False, **options: Unpack[BatchOptions]
) -> Iterator[Callable[[Iterable[Scenario]], Batch]]:
    """Yield `run_all` with these options, for batches of which one follows from what came of another.

    They share one Ray, started when one needs it, tell each reason once, and make no complete run anew twice.
    """
    with ExitStack() as ray:
        yield _Series(ray, keep_going=keep_going, **options).run


@dataclass(frozen=True, eq=False)
class _Series:
    """Batches of runs that follow on one another; `ray` closes the Ray that one of them starts."""

    ray: ExitStack
    _: KW_ONLY
    out: Path
    jobs: int | None = None
    ray_address: str | None = None
    fresh: bool = False
    keep_going: bool = False
    settle: bool = False
    data_dir: Path | None = None
    watch: Watch = field(default_factory=Watch)
    notify: Notify = _log.warning
    made: set[Scenario] = field(default_factory=set)
    told: set[str] = field(default_factory=set)

    def run(self, scenarios: Iterable[Scenario]) -> Batch:
        asked = dict(_plans(scenarios, self.data_dir, keep_going=self.keep_going))
        outcomes: dict[Scenario, Outcome] = {}
        missing: list[Plan] = []
        reused: list[StoredRun] = []
        for plan in {plan.scenario: plan for plan in asked.values()}.values():
            folder = StoredRun(self.out / plan.scenario.run_id)
            if plan.failure:
                outcomes[plan.scenario] = plan.failure
            elif folder.complete and (not self.fresh or plan.scenario in self.made):
                outcomes[plan.scenario] = folder.history
                reused.append(folder)
            else:
                missing.append(plan)
        for plan in asked.values():
            for reason in plan.idle:
                self._tell(reason)
        tell_versions(reused, self._tell)
        for scenario, outcome in outcomes.items():
            self._end(scenario, outcome)
        for scenario, outcome in self._made(missing):
            outcomes[scenario] = outcome
            self.made.add(scenario)
            self._end(scenario, outcome)
        return Batch.of({scenario: outcomes[plan.scenario] for scenario, plan in asked.items()})

    def _end(self, scenario: Scenario, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            RunWriter(self.out / scenario.run_id).fail(scenario, outcome, permanent=self.settle)
        self.watch.on_end(scenario, outcome)

    def _tell(self, reason: str) -> None:
        if reason not in self.told:
            self.told.add(reason)
            self.notify(reason)

    def _made(self, plans: Sequence[Plan]) -> Outcomes:
        """Yield what comes of each run; here where only one is to run at a time, else in tasks."""
        here = self.ray_address is None
        jobs = self.jobs or (os.cpu_count() if here else None)
        if not plans or (here and 1 in (jobs, len(plans))):
            yield from _one_by_one(plans, self.out, self.watch)
        else:
            cpus = self.ray.enter_context(ray_session(self.ray_address, cpus=jobs))
            yield from _in_tasks(plans, self.out, self.watch, jobs or cpus)


def _plans(
    scenarios: Iterable[Scenario], data_dir: Path | None, *, keep_going: bool
) -> Iterator[tuple[Scenario, Plan]]:
    """Yield each scenario with what is to be run; federations are made to find errors, and not kept."""
    datasets: dict[str, Dataset] = {}
    for scenario in scenarios:
        name = scenario.dataset
        if name not in datasets:
            datasets[name] = load_dataset(name, data_dir=data_dir)
        known = resolve_dataset(scenario, datasets[name])
        try:
            yield scenario, Plan(known, datasets[name], Federation(known, datasets[name]).idle)
        except ScenarioError as error:
            if not keep_going:
                raise
            yield scenario, Plan(known, datasets[name], failure=Failure.of(error))


def _one_by_one(plans: Sequence[Plan], out: Path, watch: Watch) -> Outcomes:
    for plan in plans:
        watch.on_start(plan.scenario)
        try:
            report = functools.partial(watch.on_round, plan.scenario)
            federation = Federation(plan.scenario, plan.dataset)
            history = run(federation, out=out, on_round=report, notify=lambda _: None)  # it is told already
        except Exception as error:  # noqa: BLE001  # whatever ends one run, the others go on
            yield plan.scenario, Failure.of(error)
        else:
            yield plan.scenario, history


def _in_tasks(plans: Sequence[Plan], out: Path, watch: Watch, jobs: int) -> Outcomes:
    import ray  # noqa: PLC0415  # a second to import

    task = ray.remote(num_returns="streaming", max_retries=RETRIES)(steps)
    shared = {dataset: ray.put(dataset) for dataset in {plan.dataset for plan in plans}}
    waiting = iter(plans)
    under_way: dict[Any, tuple[Scenario, list[Round]]] = {}
    while True:
        for plan in itertools.islice(waiting, jobs - len(under_way)):
            watch.on_start(plan.scenario)
            under_way[task.remote(plan.scenario, [shared[plan.dataset]])] = plan.scenario, []
        if not under_way:
            return
        told: Any = ray.wait(list(under_way), num_returns=1, fetch_local=False)[0][0]
        scenario, records = under_way[told]
        try:
            news: Round | Ended = ray.get(next(told))
        except ray.exceptions.RayError as error:
            del under_way[told]
            yield scenario, _keep(out, scenario, records, Failure.of(error))
            continue
        if isinstance(news, Ended):
            del under_way[told]
            yield scenario, _keep(out, scenario, records, news)
        else:
            records.append(news)
            watch.on_round(scenario, news)


def _keep(out: Path, scenario: Scenario, records: list[Round], ended: Ended | Failure) -> Outcome:
    known = {} if isinstance(ended, Failure) else ended.environment
    made_with = {**known, "command": sys.argv}  # a task's own command is Ray's
    try:
        folder = RunWriter.begin(out / scenario.run_id, scenario, made_with)
        for record in records:
            folder.append(record)
        if isinstance(ended, Failure):
            return ended
        folder.finish(ended.weights, ended.layout)
    except RunError as error:
        return Failure.of(error)
    return History(scenario, records, folder.path)

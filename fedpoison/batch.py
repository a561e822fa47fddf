"""Many runs at once: whole runs as Ray tasks, over this machine's processors or a cluster.

A run in a task has one worker thread, so that runs share the processors and never fight for them. The
driver alone writes the run store: a cluster needs no shared disk, and a run is in the store whole or not at
all.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fedpoison.datasets import Dataset, load_dataset
from fedpoison.environment import environment
from fedpoison.errors import FedPoisonError
from fedpoison.fleet import Fleet
from fedpoison.history import History
from fedpoison.ray_session import ray_session
from fedpoison.rounds import Round
from fedpoison.scenario import Scenario
from fedpoison.simulation import Notify, play, run
from fedpoison.store import RunFolder

_log = logging.getLogger(__name__)

RETRIES = 2
"""How often a run is made again whose process was lost."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What came of many runs, by the scenarios that were asked for."""

    histories: dict[Scenario, History] = field(default_factory=dict)
    """The runs that came to their end."""
    failures: dict[Scenario, str] = field(default_factory=dict)
    """Why the others did not."""


@dataclass(frozen=True, eq=False)
class Watch:
    """Is told how the runs go; a hook that is not given does nothing."""

    on_start: Callable[[Scenario], None] = lambda _: None
    on_round: Callable[[Scenario, Round], None] = lambda *_: None
    on_end: Callable[[Scenario, History | str], None] = lambda *_: None
    """Given the history, or why there is none."""


@dataclass(frozen=True, eq=False)
class Ended:
    """The last thing that a run in a task has to tell."""

    weights: Tensor
    environment: Mapping[str, object]


def run_all(
    scenarios: Iterable[Scenario],
    *,
    out: Path,
    jobs: int | None = None,
    ray_address: str | None = None,
    fresh: bool = False,
    data_dir: Path | None = None,
    watch: Watch | None = None,
    notify: Notify = _log.warning,
) -> Batch:
    """Make every run that the store does not hold complete, and return all of them.

    A run that has to stop is a failure among the others, and the rest goes on.

    Args:
        scenarios: what to run; equal ones are run once.
        out: the run store.
        jobs: how many runs at once; None is one for each processor. With 1 everything stays in this
            process, where the one run has all processors.
        ray_address: a Ray cluster to use, as for `ray_session`.
        fresh: make runs anew that the store already holds.
        data_dir: as for `simulate`.
        watch: is told how the runs go.
        notify: told before the first run, once for each attack that its settings make do nothing.

    Raises:
        ScenarioError: a scenario cannot be run; found before any training.
        DataError: a data set cannot be had.
        EngineError: Ray cannot be had.
    """
    watch = watch or Watch()
    asked = dict(_fleets(scenarios, data_dir))
    fleets = {fleet.scenario.run_id: fleet for fleet in asked.values()}
    for reason in dict.fromkeys(reason for fleet in fleets.values() for reason in fleet.idle):
        notify(reason)
    outcomes: dict[str, History | str] = {}
    missing: list[Fleet] = []
    for run_id, fleet in fleets.items():
        folder = RunFolder(out / run_id)
        if folder.complete and not fresh:
            outcomes[run_id] = folder.history()
            watch.on_end(fleet.scenario, outcomes[run_id])
        else:
            missing.append(fleet)
    if ray_address is None:
        jobs = min(jobs or os.cpu_count() or 1, len(missing))
    make = _one_by_one if jobs == 1 else _in_tasks
    if missing:
        for scenario, outcome in make(missing, out, watch, jobs, ray_address):
            outcomes[scenario.run_id] = outcome
            watch.on_end(scenario, outcome)
    batch = Batch()
    for scenario, fleet in asked.items():
        outcome = outcomes[fleet.scenario.run_id]
        if isinstance(outcome, str):
            batch.failures[scenario] = outcome
        else:
            batch.histories[scenario] = outcome
    return batch


Outcomes = Iterator[tuple[Scenario, History | str]]


def _fleets(scenarios: Iterable[Scenario], data_dir: Path | None) -> Iterator[tuple[Scenario, Fleet]]:
    """Yield each scenario with its fleet; those of one data set share it."""
    datasets: dict[str, Dataset] = {}
    for scenario in scenarios:
        name = scenario.dataset
        if name not in datasets:
            datasets[name] = load_dataset(name, data_dir=data_dir)
        yield scenario, Fleet(scenario.but(dataset=datasets[name].name), datasets[name])


def _one_by_one(fleets: list[Fleet], out: Path, watch: Watch, _jobs: int | None, _at: str | None) -> Outcomes:
    for fleet in fleets:
        watch.on_start(fleet.scenario)
        try:
            history = run(
                fleet, out=out, on_round=functools.partial(watch.on_round, fleet.scenario), notify=_told
            )
        except FedPoisonError as error:
            yield fleet.scenario, str(error)
        else:
            yield fleet.scenario, history


def _in_tasks(fleets: list[Fleet], out: Path, watch: Watch, jobs: int | None, at: str | None) -> Outcomes:
    import ray  # noqa: PLC0415  # a second to import

    task = ray.remote(num_returns="streaming", max_retries=RETRIES)(_steps)
    waiting = iter(fleets)
    with ray_session(at, cpus=jobs) as cpus:
        shared = {id(fleet.dataset): ray.put(fleet.dataset) for fleet in fleets}
        under_way: dict[Any, tuple[Fleet, list[Round]]] = {}
        while True:
            for fleet in itertools.islice(waiting, (jobs or cpus) - len(under_way)):
                watch.on_start(fleet.scenario)
                under_way[task.remote(fleet.scenario, [shared[id(fleet.dataset)]])] = fleet, []
            if not under_way:
                return
            told: Any = ray.wait(list(under_way), num_returns=1, fetch_local=False)[0][0]
            fleet, records = under_way[told]
            try:
                news: Round | Ended = ray.get(next(told))
            except ray.exceptions.RayError as error:
                del under_way[told]
                yield fleet.scenario, _reason(error)
                continue
            if isinstance(news, Ended):
                del under_way[told]
                yield fleet.scenario, _keep(out, fleet, records, news)
            else:
                records.append(news)
                watch.on_round(fleet.scenario, news)


def _steps(scenario: Scenario, dataset: list[Any]) -> Iterator[Round | Ended]:
    """Yield the rounds of a run as they come, and its end.

    Args:
        scenario: what to run.
        dataset: a reference to the data set, in a list so that Ray does not fetch it anew for each task.
    """
    told: queue.SimpleQueue[Round | Ended | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            fleet = Fleet(scenario, _fetched(dataset[0]))
            weights = play(fleet, told.put, workers=1)
            told.put(Ended(weights, environment("local", 1, fleet.idle)))
        except Exception as error:  # noqa: BLE001  # raised again where Ray looks for it
            told.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        news = told.get()
        if isinstance(news, Exception):
            raise news
        yield news
        if isinstance(news, Ended):
            return


@functools.lru_cache(maxsize=1)
def _fetched(dataset: Any) -> Dataset:
    """Return the data set behind a reference; a process that makes several runs keeps it."""
    import ray  # noqa: PLC0415  # a second to import

    fetched: Dataset = ray.get(dataset)
    return fetched


def _keep(out: Path, fleet: Fleet, records: list[Round], ended: Ended) -> History:
    folder = RunFolder.begin(out / fleet.scenario.run_id, fleet.scenario, ended.environment)
    for record in records:
        folder.append(record)
    folder.finish(ended.weights, fleet.layout)
    return History(fleet.scenario, records, folder.path)


def _told(_reason: str) -> None:
    """Say nothing: `run_all` has told it before the first run."""


def _reason(error: Exception) -> str:
    """Return in one line why a task failed."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, FedPoisonError):
        return str(cause)
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"

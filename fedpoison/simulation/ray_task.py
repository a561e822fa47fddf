"""Whole runs as Ray tasks that stream their rounds."""

from __future__ import annotations

import functools
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from clients.training.parameters import Layout
from fedpoison.data import Dataset
from fedpoison.federation.federation import Federation
from fedpoison.results.provenance import environment
from fedpoison.results.round import Failure, Round
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import run_in_process

RETRIES = 2
"""Number of times that Ray repeats a run whose process was lost."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """Final message of a task whose run is complete."""

    weights: Tensor
    layout: Layout
    environment: Mapping[str, object]


def run_in_tasks(
    runs: Sequence[tuple[Scenario, Dataset]], jobs: int, on_start: Callable[[Scenario], None]
) -> Iterator[tuple[Scenario, Round | FinishedRun | Failure]]:
    """Run scenarios as Ray tasks, and yield their rounds and ends in order of arrival.

    Args:
        runs: scenarios with their resolved data sets.
        jobs: number of parallel runs.
        on_start: receives each scenario when its task is submitted.
    """
    import ray  # noqa: PLC0415  # takes a second to import

    task = ray.remote(num_returns="streaming", max_retries=RETRIES)(stream_rounds)
    shared = {dataset: ray.put(dataset) for dataset in {dataset for _, dataset in runs}}
    waiting = iter(runs)
    running: dict[Any, Scenario] = {}
    while True:
        for scenario, dataset in itertools.islice(waiting, jobs - len(running)):
            on_start(scenario)
            running[task.remote(scenario, [shared[dataset]])] = scenario
        if not running:
            return
        ready: Any = ray.wait(list(running), num_returns=1, fetch_local=False)[0][0]
        try:
            step: Round | FinishedRun | Failure = ray.get(next(ready))
        except ray.exceptions.RayError as error:
            step = Failure.from_error(error)
        yield (running[ready] if isinstance(step, Round) else running.pop(ready)), step


def stream_rounds(scenario: Scenario, dataset: list[Any]) -> Iterator[Round | FinishedRun]:
    """Run a scenario in one thread, and yield each round and then the end.

    Args:
        scenario: scenario with the resolved data set.
        dataset: reference to the data set, in a list, so that Ray does not load it for each task.
    """
    messages: queue.SimpleQueue[Round | FinishedRun | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            federation = Federation(scenario, _fetched(dataset[0]))
            weights = run_in_process(federation, messages.put, workers=1)
            written = environment("local", 1, federation.no_effect)
            messages.put(FinishedRun(weights, federation.layout, written))
        except BaseException as error:  # noqa: BLE001  # raised below, in the thread that Ray watches
            messages.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        message = messages.get()
        if isinstance(message, BaseException):
            raise message
        yield message
        if isinstance(message, FinishedRun):
            return


@functools.lru_cache(maxsize=1)
def _fetched(dataset: Any) -> Dataset:
    """Return the data set of a reference. A process that executes several tasks loads it once."""
    import ray  # noqa: PLC0415  # takes a second to import

    fetched: Dataset = ray.get(dataset)
    return fetched

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

from fedpoison.data import Dataset
from fedpoison.errors import RunError
from fedpoison.federation.checkpoints import Checkpoints
from fedpoison.federation.federation import Federation
from fedpoison.results.checkpoint import Checkpoint
from fedpoison.results.round import Failure, Round
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import run_in_process

RETRIES = 2
"""Number of times that Ray repeats a run whose process was lost."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """Final message of a task whose run is complete."""

    model: Mapping[str, Tensor]
    """Final global model, by name."""


@dataclass(frozen=True, eq=False)
class TaskRound:
    """Message of a task after an evaluated round.

    A task sends one message per record, because Ray counts the messages if it repeats a task.
    """

    record: Round
    checkpoint: Checkpoint | None
    """Checkpoint of an earlier round, if one was due since the previous message."""


def run_in_tasks(
    runs: Sequence[tuple[Scenario, Dataset]],
    jobs: int,
    begin: Callable[[Scenario], Checkpoint | None],
    checkpoint_every: int | None = None,
) -> Iterator[tuple[Scenario, TaskRound | FinishedRun | Failure]]:
    """Run scenarios as Ray tasks, and yield their rounds and ends in order of arrival.

    Args:
        runs: scenarios with their resolved data sets.
        jobs: number of parallel runs.
        begin: receives each scenario when its task is submitted, and returns the checkpoint to continue from.
            A `RunError` ends this run.
        checkpoint_every: number of rounds between two checkpoints, as for `simulate`.
    """
    import ray  # noqa: PLC0415  # takes a second to import

    task = ray.remote(num_returns="streaming", max_retries=RETRIES)(stream_rounds)
    shared = {dataset: ray.put(dataset) for dataset in {dataset for _, dataset in runs}}
    waiting = iter(runs)
    running: dict[Any, Scenario] = {}
    while True:
        for scenario, dataset in itertools.islice(waiting, jobs - len(running)):
            try:
                start = begin(scenario)
            except RunError as error:
                yield scenario, Failure.from_error(error)
                continue
            running[task.remote(scenario, [shared[dataset]], start, checkpoint_every)] = scenario
        if not running:
            if (left := next(waiting, None)) is None:
                return
            waiting = itertools.chain([left], waiting)  # no run of this batch began
            continue
        ready: Any = ray.wait(list(running), num_returns=1, fetch_local=False)[0][0]
        try:
            step: TaskRound | FinishedRun | Failure = ray.get(next(ready))
        except ray.exceptions.RayError as error:
            step = Failure.from_error(error)
        yield (running[ready] if isinstance(step, TaskRound) else running.pop(ready)), step


def stream_rounds(
    scenario: Scenario,
    dataset: list[Any],
    start: Checkpoint | None = None,
    checkpoint_every: int | None = None,
) -> Iterator[TaskRound | FinishedRun]:
    """Run a scenario in one thread, and yield each round and then the end.

    Args:
        scenario: scenario with the resolved data set.
        dataset: reference to the data set, in a list, so that Ray does not load it for each task.
        start: checkpoint to continue from. Default: the run starts with round 1.
        checkpoint_every: number of rounds between two checkpoints, as for `simulate`.
    """
    messages: queue.SimpleQueue[TaskRound | FinishedRun | BaseException] = queue.SimpleQueue()
    due: list[Checkpoint] = []

    def send(record: Round) -> None:
        messages.put(TaskRound(record, due.pop() if due else None))

    def save(checkpoint: Checkpoint) -> None:
        due[:] = [checkpoint.copy()]

    def work() -> None:
        try:
            federation = Federation(scenario, _fetched(dataset[0]))
            checkpoints = Checkpoints(save, checkpoint_every, start)
            model = run_in_process(federation, send, workers=1, checkpoints=checkpoints)
            messages.put(FinishedRun(federation.state_dict(model)))
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

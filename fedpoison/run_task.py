"""One whole run inside a Ray task, which tells its rounds as they come."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from clients.parameters import Layout
from fedpoison.datasets import Dataset
from fedpoison.environment import environment
from fedpoison.fleet import Federation
from fedpoison.rounds import Round
from fedpoison.scenario import Scenario
from fedpoison.simulation import play


@dataclass(frozen=True, eq=False)
class Ended:
    """The last thing that a run in a task has to tell."""

    weights: Tensor
    layout: Layout
    environment: Mapping[str, object]


def steps(scenario: Scenario, dataset: list[Any]) -> Iterator[Round | Ended]:
    """Yield the rounds of a run as they come, and its end.

    Args:
        scenario: what to run.
        dataset: a reference to the data set, in a list so that Ray does not fetch it anew for each task.
    """
    told: queue.SimpleQueue[Round | Ended | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            federation = Federation(scenario, _fetched(dataset[0]))
            weights = play(federation, told.put, workers=1)
            told.put(Ended(weights, federation.layout, environment("local", 1, federation.idle)))
        except BaseException as error:  # noqa: BLE001  # raised again where Ray looks for it
            told.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        news = told.get()
        if isinstance(news, BaseException):
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

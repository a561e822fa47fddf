"""Ray actors that train cohorts: dealt out as actors become free, trained again where an actor is lost."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from fedpoison.errors import EngineError
from fedpoison.fleet import Federation
from fedpoison.ray_actor import Assignment, CohortActor, CohortResult, SharedFleet, Weights, numerics
from fedpoison.ray_session import code_path

RETRIES = 3
"""How often a cohort is trained again whose actor was lost; how often in a row actors may fail to start."""
START_UP = 300.0
"""Seconds in which an actor has to start where none is at work. A cluster may have to find a machine."""

_log = logging.getLogger(__name__)


class ActorPool:
    """A pool of actors, each with the whole fleet. Use it as a context manager.

    Args:
        federation: the nodes; sent to the object store once.
        count: how many actors to start. Work begins as soon as the first is up.
        resources: what Ray reserves for each: `CPU`, `GPU`, `memory` in bytes, or resources of the
            cluster's own.
    """

    def __init__(self, federation: Federation, count: int, resources: Mapping[str, float]) -> None:
        self._resources = dict(resources)
        self._federation = ray.put(SharedFleet.of(federation))
        self._actor_class: Any = ray.remote(**_options(resources))(CohortActor)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, int]] = {}
        self._failed_starts = 0
        for _ in range(count):
            self._start()

    def train(self, cohorts: Sequence[Sequence[Assignment]], models: Sequence[Weights]) -> list[CohortResult]:
        """Return what came of each cohort, in order.

        Args:
            cohorts: the round's assignments.
            models: the global weights that they name.

        Raises:
            EngineError: the same cohort was lost again and again, or no actor can be started.
        """
        references = [ray.put(model) for model in models]
        waiting = deque(range(len(cohorts)))
        results: dict[int, CohortResult] = {}
        losses: Counter[int] = Counter()
        while len(results) < len(cohorts):
            while waiting and self._idle:
                actor, index = self._idle.pop(), waiting.popleft()
                self._running[actor.train.remote(cohorts[index], *references)] = actor, index
            done = self._next()
            if done in self._starting:
                self._welcome(done)
                continue
            actor, index = self._running.pop(done)
            try:
                results[index] = ray.get(done)
            except RayTaskError as error:  # the actor lives: this is no client's error, and no machine's
                raise EngineError(f"a Ray worker failed: {_last_line(error.cause)}") from error
            except RayError as error:
                self._replace(actor)
                losses[index] += 1
                if losses[index] > RETRIES:
                    nodes = ", ".join(str(each.node) for each in cohorts[index])
                    raise EngineError(
                        f"the Ray worker that trained nodes {nodes} was lost {losses[index]} times in the "
                        f"same round, the last time because: {_last_line(error)} If its memory was too "
                        "small, train fewer at once (--workers)."
                    ) from None
                waiting.appendleft(index)
            else:
                self._idle.append(actor)
        return [results[index] for index in range(len(cohorts))]

    def close(self) -> None:
        """End the actors, whatever they are doing."""
        for actor in (*self._starting.values(), *self._idle, *(actor for actor, _ in self._running.values())):
            ray.kill(actor)
        self._starting, self._idle, self._running = {}, [], {}

    def _start(self) -> None:
        actor = self._actor_class.remote(self._federation)
        self._starting[actor.numerics.remote()] = actor

    def _next(self) -> Any:
        """Return the reference of what is ready first: a cohort, or an actor."""
        patience = None if self._running else START_UP
        ready, _ = ray.wait([*self._running, *self._starting], num_returns=1, timeout=patience)
        if not ready:
            free = {name: ray.available_resources().get(name, 0) for name in self._resources}
            raise EngineError(
                f"no Ray worker started within {START_UP:.0f} s: each needs {self._resources}, and the "
                f"cluster has {free} free. Free some, or ask for less."
            )
        return ready[0]

    def _welcome(self, up: Any) -> None:
        """Put an actor that has started to work; start another in place of one that could not."""
        actor = self._starting.pop(up)
        try:
            found = ray.get(up)
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts > RETRIES:
                raise EngineError(
                    f"Ray workers do not start: {_last_line(getattr(error, 'cause', None) or error)} Is "
                    "fedpoison installed on every machine of the cluster?"
                ) from error
            self._start()
            return
        self._failed_starts = 0
        self._idle.append(actor)
        if found != numerics():
            _log.warning(
                "a Ray worker has %s, this process %s: results may differ in their last bits.",
                found,
                numerics(),
            )

    def _replace(self, actor: Any) -> None:
        ray.kill(actor)  # it may be alive, and only out of reach
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _options(resources: Mapping[str, float]) -> dict[str, Any]:
    """Return Ray's options for an actor that needs these resources."""
    known = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    options: dict[str, Any] = {"num_cpus": 0}
    options |= {known[name]: amount for name, amount in resources.items() if name in known}
    options["resources"] = {name: amount for name, amount in resources.items() if name not in known}
    options["runtime_env"] = {"env_vars": {"PYTHONPATH": code_path()}}
    options["scheduling_strategy"] = "SPREAD"
    return options


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()

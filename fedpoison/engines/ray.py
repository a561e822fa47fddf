"""The `ray` engine: a Flower grid over Ray actors, on this machine or a cluster.

The pool retries by itself. With Ray's own `max_restarts`, the tasks of a lost actor wait for its restart: if
its machine is lost and no other has room, they wait for ever. Here the other actors train them.
`ray.util.ActorPool` ends with the first lost actor.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from torch import Tensor

from fedpoison.engines.base import ClientBatch, EngineGrid
from fedpoison.engines.ray_actor import (
    Assignment,
    ClientBatchResult,
    SharedFederation,
    TrainingActor,
    Weights,
    numerics,
)
from fedpoison.engines.ray_session import code_path, ray_session
from fedpoison.errors import EngineError
from fedpoison.federation.client import ClientResult, Task
from fedpoison.federation.federation import Federation

ONE_CPU: Mapping[str, float] = {"CPU": 1}
RETRIES = 3
"""Further attempts for clients whose actor is lost, and for the start of actors in a row."""
START_UP = 300.0
"""Seconds in which the first actor has to start. A cluster may have to find a machine."""

_log = logging.getLogger(__name__)


class ActorPool:
    """A pool of actors, each with the whole federation. Close it after use.

    Args:
        federation: the nodes; sent to the object store once.
        count: how many actors to start. Work begins as soon as the first is up.
        resources: what Ray reserves for each: `CPU`, `GPU`, `memory` in bytes, or resources of the
            cluster's own.
    """

    def __init__(self, federation: Federation, count: int, resources: Mapping[str, float]) -> None:
        self._resources = dict(resources)
        self._federation = ray.put(SharedFederation.from_federation(federation))
        self._actor_class: Any = ray.remote(**_options(resources))(TrainingActor)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, int]] = {}
        self._failed_starts = 0
        for _ in range(count):
            self._start()

    def train(
        self, client_batches: Sequence[Sequence[Assignment]], models: Sequence[Weights]
    ) -> list[ClientBatchResult]:
        """Return what came of each cohort, in order.

        Args:
            client_batches: the round's assignments.
            models: the global weights that they name.

        Raises:
            EngineError: the same cohort was lost again and again, or no actor can be started.
        """
        references = [ray.put(model) for model in models]
        waiting = deque(range(len(client_batches)))
        results: dict[int, ClientBatchResult] = {}
        losses: Counter[int] = Counter()
        while len(results) < len(client_batches):
            while waiting and self._idle:
                actor, index = self._idle.pop(), waiting.popleft()
                self._running[actor.train.remote(client_batches[index], *references)] = actor, index
            done = self._next()
            if done in self._starting:
                self._add_started(done)
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
                    client_ids = ", ".join(str(each.client_id) for each in client_batches[index])
                    raise EngineError(
                        f"the Ray worker of clients {client_ids} was lost {losses[index]} times in the "
                        f"same round, the last time because: {_last_line(error)} If its memory was too "
                        "small, train fewer at once (--workers)."
                    ) from None
                waiting.appendleft(index)
            else:
                self._idle.append(actor)
        return [results[index] for index in range(len(client_batches))]

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
        timeout = None if self._running else START_UP
        ready, _ = ray.wait([*self._running, *self._starting], num_returns=1, timeout=timeout)
        if not ready:
            free = {name: ray.available_resources().get(name, 0) for name in self._resources}
            raise EngineError(
                f"no Ray worker started within {START_UP:.0f} s: each needs {self._resources}, and the "
                f"cluster has {free} free. Free some, or ask for less."
            )
        return ready[0]

    def _add_started(self, up: Any) -> None:
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


class RayGrid(EngineGrid):
    """Trains cohorts in Ray actors.

    Args:
        federation: the nodes.
        pool: the actors.
        workers: how many there are.
        clients_per_task: as for every `EngineGrid`.
    """

    def __init__(
        self, federation: Federation, pool: ActorPool, *, workers: int, clients_per_task: int | None = None
    ) -> None:
        super().__init__(federation, workers=workers, clients_per_task=clients_per_task)
        self._pool = pool

    def train(self, client_batches: Sequence[ClientBatch]) -> Iterable[Sequence[ClientResult]]:
        """Return what came of the tasks of each cohort, in order.

        Raises:
            EngineError: workers are lost again and again, or none can be started.
        """
        models = _Models()
        assignments = [[models.assignment(task) for task in client_batch] for client_batch in client_batches]
        results = self._pool.train(assignments, [model.numpy() for model in models.vectors])
        return [result.received() for result in results]


@contextmanager
def ray_grid(
    federation: Federation,
    *,
    address: str | None = None,
    workers: int | None = None,
    clients_per_task: int | None = None,
    resources: Mapping[str, float] | None = None,
) -> Iterator[RayGrid]:
    """Have the federation's grid on Ray while the context lasts.

    Args:
        federation: the nodes.
        address: the cluster to join, as for `ray_session`.
        workers: how many actors; None is as many as find room, and there are never more than cohorts.
        clients_per_task: as for every `EngineGrid`.
        resources: what Ray reserves for each actor; None is one processor.

    Raises:
        EngineError: Ray cannot be had, or has no room for a single actor.
    """
    needed = dict(resources or ONE_CPU)
    if not all(amount > 0 for amount in needed.values()):
        raise EngineError(f"resources of a Ray worker: got {needed}, wanted amounts above 0.")
    task_count = -(-federation.scenario.sampled // (clients_per_task or 1))
    wanted = min(workers or os.cpu_count() or 1, task_count)
    processors = max(1, math.ceil(wanted * needed.get("CPU", 0)))
    with ray_session(address, cpus=processors):
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(_room(machine, needed) for machine in machines)
        if not room:
            raise EngineError(
                f"no machine of the Ray cluster has room for a worker: each needs {needed}, and the cluster "
                f"has {ray.cluster_resources()}. Ask for less (--ray-resources)."
            )
        count = min(workers or room, task_count)
        with closing(ActorPool(federation, count, needed)) as pool:
            grid = RayGrid(federation, pool, workers=count, clients_per_task=clients_per_task)
            grid.facts["ray"] = {
                "actors": count,
                "resources": needed,
                "machines": len(machines),
                "address": address or "local",
            }
            yield grid


class _Models:
    """The distinct global weights that a round's tasks start from or look back to."""

    def __init__(self) -> None:
        self.vectors: list[Tensor] = []
        self._positions: dict[int, int] = {}

    def assignment(self, task: Task) -> Assignment:
        """Return the task as it travels."""
        request = task.request
        return Assignment(
            client_id=task.client_id,
            server_round=request.server_round,
            model=self._position(request.model),
            previous_model=None if request.previous_model is None else self._position(request.previous_model),
            proximal=request.proximal,
            memory=task.memory,
        )

    def _position(self, vector: Tensor) -> int:
        if id(vector) not in self._positions:
            self._positions[id(vector)] = len(self.vectors)
            self.vectors.append(vector)
        return self._positions[id(vector)]


def _room(machine: Mapping[str, float], needed: Mapping[str, float]) -> int:
    """Return how many actors a machine holds when it is empty."""
    return min(int(machine.get(name, 0) / amount) for name, amount in needed.items())


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

"""The `ray` engine: a Flower grid over Ray actors, on this machine or a cluster.

The pool retries by itself. With Ray's own `max_restarts`, the tasks of a lost actor wait for its restart: if
its machine is lost and no other has room, they wait for ever. Here, the other actors train them.
`ray.util.ActorPool` fails when the first actor is lost.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from torch import Tensor

from fedpoison.engines.base import ClientBatch, EngineGrid
from fedpoison.engines.options import EngineOptions
from fedpoison.engines.ray_actor import (
    NO_WEIGHTS,
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
from fedpoison.federation.workers import Workers
from fedpoison.processors import processor_count

ONE_CPU: Mapping[str, float] = {"CPU": 1}
RETRIES = 3
"""Further attempts for clients whose actor is lost, and for the start of actors in a row."""
START_UP = 300.0
"""Seconds in which the first actor has to start. A cluster may have to find a machine."""

_log = logging.getLogger(__name__)


class ActorPool:
    """A pool of actors, each with the whole federation. Close it after use.

    Work begins when the first of `count` actors has started.

    Args:
        federation: federation, which is sent to the object store once.
        count: number of actors.
        resources: resources per actor: `CPU`, `GPU`, `memory` in bytes, or custom resources of the cluster.
    """

    def __init__(self, federation: Federation, count: int, resources: Mapping[str, float]) -> None:
        self._resources = dict(resources)
        self._federation = ray.put(SharedFederation.from_federation(federation))
        self._actor_class: Any = ray.remote(**_actor_options(resources))(TrainingActor)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, int]] = {}
        self._failed_starts = 0
        for _ in range(count):
            self._start()

    def train(
        self, client_batches: Sequence[Sequence[Assignment]], models: Sequence[Weights]
    ) -> list[ClientBatchResult]:
        """Train client batches, and return their results in order. Assignments name positions in `models`.

        Raises:
            EngineError: the actor of one client batch was lost several times, or no actor starts.
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
            except RayTaskError as error:  # the actor is alive: no client failed, and no machine
                raise EngineError(f"a Ray worker failed: {_last_line(error.cause)}") from error
            except RayError as error:
                ray.kill(actor)  # it may be alive but unreachable
                self._start()
                losses[index] += 1
                if losses[index] > RETRIES:
                    client_ids = ", ".join(str(each.task.client_id) for each in client_batches[index])
                    raise EngineError(
                        f"the Ray worker of clients {client_ids} was lost {losses[index]} times in the "
                        f"same round, the last time because: {_last_line(error)} If it had too little "
                        "memory, train fewer at once (--workers)."
                    ) from None
                waiting.appendleft(index)
            else:
                self._idle.append(actor)
        return [results[index] for index in range(len(client_batches))]

    def close(self) -> None:
        """Stop the actors, even if they are at work."""
        for actor in (*self._starting.values(), *self._idle, *(actor for actor, _ in self._running.values())):
            ray.kill(actor)
        self._starting, self._idle, self._running = {}, [], {}

    def _start(self) -> None:
        actor = self._actor_class.remote(self._federation)
        self._starting[actor.numerics.remote()] = actor

    def _next(self) -> Any:
        """Return the reference of the first finished client batch or started actor."""
        timeout = None if self._running else START_UP
        ready, _ = ray.wait([*self._running, *self._starting], num_returns=1, timeout=timeout)
        if not ready:
            free = {name: ray.available_resources().get(name, 0) for name in self._resources}
            raise EngineError(
                f"no Ray worker started within {START_UP:.0f} s: each needs {self._resources}, and the "
                f"cluster has {free} free. Wait for other work to end, or reserve less (--ray-resources)."
            )
        return ready[0]

    def _add_started(self, up: Any) -> None:
        """Add a started actor to the idle actors. If it failed to start, start another."""
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


class RayGrid(EngineGrid):
    """A grid that trains client batches in the `workers` Ray actors of a pool."""

    def __init__(
        self, federation: Federation, pool: ActorPool, *, workers: int, clients_per_task: int | None = None
    ) -> None:
        super().__init__(federation, workers=workers, clients_per_task=clients_per_task)
        self._pool = pool

    def train(self, client_batches: Sequence[ClientBatch]) -> Iterable[Sequence[ClientResult]]:
        """Return the results of the tasks of each client batch, in order.

        Raises:
            EngineError: as for `ActorPool.train`.
        """
        models: dict[int, tuple[int, Tensor]] = {}  # position and tensor of each distinct model, by identity

        def position(model: Tensor) -> int:
            return models.setdefault(id(model), (len(models), model))[0]

        def assign(task: Task) -> Assignment:
            model, previous = task.request.model, task.request.previous_model
            request = replace(task.request, model=NO_WEIGHTS, previous_model=None)
            previous_position = None if previous is None else position(previous)
            return Assignment(replace(task, request=request), position(model), previous_position)

        assignments = [[assign(task) for task in client_batch] for client_batch in client_batches]
        results = self._pool.train(assignments, [model.numpy() for _, model in models.values()])
        return [result.restore() for result in results]


@contextmanager
def ray_grid(federation: Federation, options: EngineOptions) -> Iterator[tuple[RayGrid, Workers]]:
    """Yield a grid on Ray, and workers of this process for the server.

    By default, the grid has as many actors as the cluster has room for, but no more than client batches.

    Raises:
        EngineError: Ray is not available, or has no room for a single actor.
    """
    needed = dict(options.ray_resources or ONE_CPU)
    if not all(amount > 0 for amount in needed.values()):
        raise EngineError(f"resources of a Ray worker: got {needed}, expected amounts above 0.")
    task_count = -(-federation.scenario.sampled // (options.clients_per_task or 1))
    here = processor_count()
    local_actors = min(options.workers or here, task_count)
    cpus = max(1, math.ceil(local_actors * needed.get("CPU", 0)))
    with ray_session(options.ray_address, cpus=cpus):
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(_room(machine, needed) for machine in machines)
        if not room:
            raise EngineError(
                f"no machine of the Ray cluster has room for a worker: each needs {needed}, and the cluster "
                f"has {ray.cluster_resources()}. Reserve less (--ray-resources)."
            )
        count = min(options.workers or room, task_count)
        threads = min(options.workers or here, here)
        with (
            closing(ActorPool(federation, count, needed)) as pool,
            Workers(federation.model, federation.scenario.training, threads) as server,
        ):
            grid = RayGrid(federation, pool, workers=count, clients_per_task=options.clients_per_task)
            grid.environment["ray"] = {
                "actors": count,
                "resources": needed,
                "machines": len(machines),
                "address": options.ray_address or "local",
            }
            yield grid, server


def _room(machine: Mapping[str, float], needed: Mapping[str, float]) -> int:
    """Return how many actors an idle machine has room for."""
    return min(int(machine.get(name, 0) / amount) for name, amount in needed.items())


def _actor_options(resources: Mapping[str, float]) -> dict[str, Any]:
    """Return Ray's options for an actor with these resources."""
    known = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    options: dict[str, Any] = {"num_cpus": 0}
    options |= {known[name]: amount for name, amount in resources.items() if name in known}
    options["resources"] = {name: amount for name, amount in resources.items() if name not in known}
    options["runtime_env"] = {"env_vars": {"PYTHONPATH": code_path()}}
    options["scheduling_strategy"] = "SPREAD"
    return options


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()

"""The `ray` engine: a Flower grid over Ray actors, on this machine or a cluster."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import ray
from torch import Tensor

from fedpoison.cohort_grid import Cohort, CohortGrid
from fedpoison.errors import EngineError
from fedpoison.fleet import Federation
from fedpoison.node import Outcome, Task
from fedpoison.ray_actor import Assignment
from fedpoison.ray_pool import ActorPool
from fedpoison.ray_session import ray_session

ONE_CPU: Mapping[str, float] = {"CPU": 1}


class RayGrid(CohortGrid):
    """Trains cohorts in Ray actors.

    Args:
        federation: the nodes.
        pool: the actors.
        workers: how many there are.
        cohort: as for every `CohortGrid`.
    """

    def __init__(
        self, federation: Federation, pool: ActorPool, *, workers: int, cohort: int | None = None
    ) -> None:
        super().__init__(federation, workers=workers, cohort=cohort)
        self._pool = pool

    def train(self, cohorts: Sequence[Cohort]) -> Iterable[Sequence[Outcome]]:
        """Return what came of the tasks of each cohort, in order.

        Raises:
            EngineError: workers are lost again and again, or none can be started.
        """
        models = _Models()
        assignments = [[models.assignment(task) for task in cohort] for cohort in cohorts]
        results = self._pool.train(assignments, [model.numpy() for model in models.vectors])
        return [result.received() for result in results]


@contextmanager
def ray_grid(
    federation: Federation,
    *,
    address: str | None = None,
    workers: int | None = None,
    cohort: int | None = None,
    resources: Mapping[str, float] | None = None,
) -> Iterator[RayGrid]:
    """Have the fleet's grid on Ray while the context lasts.

    Args:
        federation: the nodes.
        address: the cluster to join, as for `ray_session`.
        workers: how many actors; None is as many as find room, and there are never more than cohorts.
        cohort: as for every `CohortGrid`.
        resources: what Ray reserves for each actor; None is one processor.

    Raises:
        EngineError: Ray cannot be had, or has no room for a single actor.
    """
    needed = dict(resources or ONE_CPU)
    if not all(amount > 0 for amount in needed.values()):
        raise EngineError(f"resources of a Ray worker: got {needed}, wanted amounts above 0.")
    cohorts = -(-federation.scenario.sampled // (cohort or 1))
    wanted = min(workers or os.cpu_count() or 1, cohorts)
    processors = max(1, math.ceil(wanted * needed.get("CPU", 0)))
    with ray_session(address, cpus=processors):
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(_room(machine, needed) for machine in machines)
        if not room:
            raise EngineError(
                f"no machine of the Ray cluster has room for a worker: each needs {needed}, and the cluster "
                f"has {ray.cluster_resources()}. Ask for less (--ray-resources)."
            )
        count = min(workers or room, cohorts)
        with ActorPool(federation, count, needed) as pool:
            grid = RayGrid(federation, pool, workers=count, cohort=cohort)
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
        order = task.order
        return Assignment(
            node=task.node,
            server_round=order.server_round,
            model=self._position(order.model),
            previous_model=None if order.previous_model is None else self._position(order.previous_model),
            proximal=order.proximal,
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
